"""PBS: OpenPBS and PBS Professional, as recorded from OpenPBS 23.06."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from . import commands
from .base import BatchSystem, Cause, Ended, ListedState, mentions, number, user

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..model.pool import Pool

_STATES = {
    "Q": ListedState.QUEUED,
    "W": ListedState.QUEUED,
    "T": ListedState.QUEUED,
    "H": ListedState.HELD,
    "E": ListedState.ENDING,
    "F": ListedState.ENDING,
    "X": ListedState.ENDING,
}

_LIMITS = {
    -24: "over its burst of ncpus",
    -25: "over its ncpus",
    -26: "over its vmem",
    -27: "over its mem",
    -28: "over its cput",
}
"""Limits that a rule may have gone over, by `Exit_status`."""

_WALLTIME = -29
_TERMINATED = "91"
"""The substate of a job that PBS has ended, for itself or for somebody."""


class Pbs(BatchSystem):
    name = "pbs"
    job_class = "pbs:PBSJob"
    job_id = r"(?m)^(?P<job_id>\d+)\b"
    account_option = "account"
    blanks_in_paths = False
    in_job = "PBS_JOBID"
    own_variables = ("PBS_",)
    kept_variables = ("PBS_CONF_FILE", "PBS_EXEC", "PBS_HOME", "PBS_SERVER", "PBS_DEFAULT", "PBS_ACCOUNT")
    core_variables = ("NCPUS", "OMP_NUM_THREADS")
    has_records = True
    states = _STATES
    state_column = 9

    def job_options(self, pool: Pool, excluded: Sequence[str], site: Mapping[str, Any]) -> dict[str, Any]:
        options = super().job_options(pool, excluded, site)
        if mentions(pool.directives, "select="):
            # The first one of a script wins: it has to be the user's.
            options["job_directives_skip"] = ["-l select", *(site.get("job-directives-skip") or ())]
        elif not site.get("resource-spec"):
            options["resource_spec"] = _select(pool)
        return options

    def directives(self, pool: Pool, excluded: Sequence[str]) -> list[str]:
        lines = list(pool.directives)
        if not mentions(lines, "-r "):
            lines.append("-r n")  # a pilot that is lost is replaced by us, where it is still of use
        if not mentions(lines, "-k "):
            lines.append("-k oed")  # logs are written as they come, not at the end
        return lines

    def prologue(self) -> list[str]:
        return ['export PATH="$PBS_O_PATH"']  # that of qsub: rules find the tools that the submitter does

    def shortfall(self, pool: Pool) -> str:
        """
        >>> from snakemake_executor_daskjq.model.pool import Pool
        >>> SYSTEM.shortfall(Pool("main", "pbs", cores=4, mem_mb=1000, directives=("-l select=1:ncpus=2",)))
        'a directive asks PBS for ncpus=2, a pilot has 4 cores'
        """
        asked = re.search(r"select=\S*?ncpus=(\d+)", " ".join(pool.directives))
        if asked and int(asked.group(1)) < (pool.cores or 0):
            return f"a directive asks PBS for ncpus={asked.group(1)}, a pilot has {pool.cores} cores"
        return ""

    def list_command(self) -> tuple[str, ...]:
        return ("qstat", "-u", user())

    def reasons_command(self, batch_ids: Sequence[str]) -> tuple[str, ...]:
        return ("qstat", "-f", *batch_ids)

    def parse_reasons(self, answer: str) -> dict[str, str]:
        """
        >>> SYSTEM.parse_reasons("Job Id: 12.host1\\n    job_state = Q\\n    comment = Not Running: Dra\\n\\tined\\n")
        {'12': 'Not Running: Drained'}
        """
        return {batch_id: job["comment"] for batch_id, job in jobs(answer).items() if "comment" in job}

    async def record(self, batch_id: str) -> Ended | None:
        answer = await commands.output(("qstat", "-xf", batch_id), env=self.own_environment())
        job = jobs(answer or "").get(batch_id)
        return ended(job) if job else None


def _select(pool: Pool) -> str:
    """One chunk with all of a pilot's resources. PBS' MB are MiB.

    >>> from snakemake_executor_daskjq.model.pool import Pool
    >>> _select(Pool("gpu", "pbs", cores=4, mem_mb=2000, others={"gpu": 1}))
    'select=1:ncpus=4:mem=1908MB:ngpus=1'
    """
    gpus = pool.others.get("gpu", 0)
    mebibytes = -(-(pool.mem_mb or 0) * 10**6 // 2**20)
    return f"select=1:ncpus={pool.cores}:mem={mebibytes}MB" + (f":ngpus={gpus}" if gpus else "")


def jobs(answer: str) -> dict[str, dict[str, str]]:
    """The attributes of each job in what `qstat -f` says; long lines are continued after a tab."""
    found: dict[str, dict[str, str]] = {}
    job: dict[str, str] = {}
    for line in answer.replace("\n\t", "").splitlines():
        if line.startswith("Job Id:"):
            job = found[number(line.partition(":")[2].strip())] = {}
        elif " = " in line:
            key, _, value = line.partition(" = ")
            job[key.strip()] = value.strip()
    return found


def ended(job: Mapping[str, str]) -> Ended | None:
    """How a job ended, from its attributes (`qstat -xf`, where the server keeps a history); None while it goes on.

    >>> ended({"job_state": "F", "Exit_status": "-29", "substate": "91"})
    Ended(words='over its walltime', cause=<Cause.NO_FAULT: 'no fault'>)
    >>> ended({"job_state": "F", "Exit_status": "265", "substate": "93"})
    Ended(words='signal 9', cause=<Cause.CRASH: 'crash'>)
    >>> ended({"job_state": "R"})
    """
    if job.get("job_state") in ("Q", "H", "W") and job.get("run_count", "0") != "0":
        return Ended("requeued", Cause.NO_FAULT)
    try:
        status = int(job["Exit_status"])
    except (KeyError, ValueError):
        return None
    if job.get("job_state") not in (None, "F", "X", "M"):
        return None
    if status == _WALLTIME:
        return Ended("over its walltime", Cause.NO_FAULT)
    if status in _LIMITS:
        return Ended(_LIMITS[status], Cause.CRASH)
    if status == 0:
        return Ended("completed", Cause.NO_FAULT)
    how = f"signal {status - 256}" if status > 256 else f"exit status {status}"
    if job.get("substate") == _TERMINATED:
        by = re.search(r"terminated by (\S+)", job.get("comment", ""))
        return Ended(f"terminated by {by.group(1)}" if by else f"terminated ({how})", Cause.NO_FAULT)
    return Ended(how, Cause.CRASH)


SYSTEM = Pbs()
