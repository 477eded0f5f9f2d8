"""HTCondor. Known from its manual pages: the tests check scripts and listings, none has run on one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .base import BatchSystem, Listed, ListedState, column, columns_by_id, mentions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..model.pool import Pool

_STATES = {
    "1": ListedState.QUEUED,
    "3": ListedState.ENDING,  # removed
    "4": ListedState.ENDING,  # completed
    "5": ListedState.HELD,
}


class HTCondor(BatchSystem):
    name = "htcondor"
    job_class = "htcondor:HTCondorJob"
    in_job = "_CONDOR_JOB_AD"
    states = _STATES
    own_variables = (  # others that begin with _CONDOR_ are settings
        *("_CONDOR_JOB_AD", "_CONDOR_MACHINE_AD", "_CONDOR_JOB_IWD", "_CONDOR_JOB_PIDS", "_CONDOR_SCRATCH_DIR"),
        *("_CONDOR_SLOT", "_CONDOR_WRAPPER_ERROR_FILE", "_CHIRP_DELAYED_UPDATE_PREFIX"),
    )

    def job_options(self, pool: Pool, excluded: Sequence[str], site: Mapping[str, Any]) -> dict[str, Any]:
        options: dict[str, Any] = {"disk": f"{pool.others.get('disk_mb', 1000)}MB"}
        if directives := self.directives(pool, excluded):
            options["job_extra_directives"] = dict(map(_key_value, directives))
        if pool.prologue:
            options["job_script_prologue"] = list(pool.prologue)
        return options

    def directives(self, pool: Pool, excluded: Sequence[str]) -> list[str]:
        gpus = pool.others.get("gpu", 0)
        asked = mentions([line.lower() for line in pool.directives], "request_gpus", "requestgpus")
        return [*pool.directives, *([f"request_gpus = {gpus}"] if gpus and not asked else [])]

    def list_command(self) -> tuple[str, ...]:
        return ("condor_q", "-autoformat:j", "JobStatus", "HoldReason")

    def parse_listing(self, listing: str) -> dict[str, Listed]:
        """
        >>> SYSTEM.parse_listing("12.0 1 undefined\\n13.0 5 by user me\\n")["13.0"]
        Listed(state=<ListedState.HELD: 'held'>, words='by user me')
        """
        found = {}
        for batch_id, columns in columns_by_id(listing).items():
            state = self.state(column(columns, self.state_column))
            found[batch_id] = Listed(state, " ".join(columns[2:]) if state is ListedState.HELD else "")
        return found


def _key_value(line: str) -> tuple[str, str]:
    key, _, value = line.partition("=")
    return key.strip(), value.strip()


SYSTEM = HTCondor()
