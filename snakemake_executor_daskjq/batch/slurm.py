"""Slurm. Its partitions are in `slurm_partitions`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from . import base, commands
from .base import BATCH_KEYS, BatchSystem, Cause, Ended, Listed, ListedState, column, columns_by_id, mentions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..model.pool import Pool

MIB, MB = 2**20, 10**6

_HELD = ("JobHeldUser", "JobHeldAdmin", "JobHoldMaxRequeue", "launch failed requeued held")
"""Reasons for which a job starts only once somebody releases it."""

_STATES = {"PENDING": ListedState.QUEUED, "COMPLETING": ListedState.ENDING}

_GOING_ON = ("PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "COMPLETING")

_NO_FAULT = ("COMPLETED", "CANCELLED", "PREEMPTED", "TIMEOUT", "DEADLINE", "REVOKED", "BOOT_FAIL")
"""States of batch jobs (squeue(1), "JOB STATE CODES") for which no rule can be the reason.

A pilot that ends itself, for it was out of touch, has `COMPLETED`.
"""


class Slurm(BatchSystem):
    name = "slurm"
    discovers = True
    keys = BATCH_KEYS | {"constraint", "nodes"}
    job_class = "slurm:SLURMJob"
    job_id = r"(?m)^(?:Submitted batch job )?(?P<job_id>\d+)\b"
    account_option = "account"
    in_job = "SLURM_JOB_ID"
    own_variables = ("SLURM_", "SBATCH_", "SRUN_", "SLURMD_")
    kept_variables = ("SLURM_CONF", "SLURM_JWT")
    has_records = True
    states = _STATES

    def job_options(self, pool: Pool, excluded: Sequence[str], site: Mapping[str, Any]) -> dict[str, Any]:
        options = super().job_options(pool, excluded, site)
        if pool.nodes > 1:
            # dask-jobqueue's own are for one task.
            options["job_directives_skip"] = ["-n 1", "--cpus-per-task=", *(site.get("job-directives-skip") or ())]
        return options

    def directives(self, pool: Pool, excluded: Sequence[str]) -> list[str]:
        lines = list(pool.directives)
        if pool.constraint:
            lines.append(f"--constraint={pool.constraint}")
        if pool.nodes > 1:
            # One task a core, on every node: what steps and MPI launchers find is the whole allocation.
            lines += [f"--nodes={pool.nodes}", f"--ntasks-per-node={pool.cores}", "--cpus-per-task=1"]
        gpus = pool.others.get("gpu", 0)
        if gpus and not mentions(pool.directives, "gpu"):
            lines.append(f"--gres=gpu:{gpus}")
        if not mentions(pool.directives, "requeue"):
            lines.append("--no-requeue")  # a pilot that is lost is replaced by us, where it is still of use
        if excluded:
            lines.append(f"--exclude={','.join(excluded)}")
        return lines

    def discover(self, pool: Pool) -> list[Pool]:
        from .slurm_partitions import discovered

        return discovered(pool)

    def granted_cores(self, environ: Mapping[str, str]) -> int | None:
        # Set within a step or a batch script only, not in salloc's shell elsewhere.
        return base.whole(environ.get("SLURM_CPUS_ON_NODE"))

    def granted_mem_mb(self, environ: Mapping[str, str]) -> int | None:
        per_node, per_core = environ.get("SLURM_MEM_PER_NODE", ""), base.whole(environ.get("SLURM_MEM_PER_CPU"))
        if per_node.isdecimal():
            mebibytes = base.whole(per_node) or 0
        else:
            mebibytes = (per_core or 0) * (self.granted_cores(environ) or 0)
        return mebibytes * MIB // MB or None

    def list_command(self) -> tuple[str, ...]:
        return ("squeue", "--noheader", f"--user={base.user()}", "--format=%i|%T|%r")

    def parse_listing(self, listing: str) -> dict[str, Listed]:
        """
        >>> listed = SYSTEM.parse_listing("7|PENDING|Resources\\n8|RUNNING|None\\n9|PENDING|JobHeldUser\\n")
        >>> listed["7"]
        Listed(state=<ListedState.QUEUED: 'queued'>, words='Resources')
        >>> listed["8"].state, listed["9"].words
        (<ListedState.RUNNING: 'running'>, 'PENDING (JobHeldUser)')
        """
        found = {}
        for batch_id, columns in columns_by_id(listing, "|").items():
            word, reason = column(columns, self.state_column), column(columns, 2)
            state = self.state(word)
            if reason in _HELD:
                found[batch_id] = Listed(ListedState.HELD, f"{word} ({reason})")
            else:
                found[batch_id] = Listed(state, reason if state is ListedState.QUEUED and reason != "None" else "")
        return found

    async def record(self, batch_id: str) -> Ended | None:
        command = ("scontrol", "--oneliner", "show", "job", batch_id)
        return ended(await commands.output(command, env=self.own_environment()) or "")


def ended(record: str) -> Ended | None:
    """How a batch job ended (one line of `scontrol --oneliner show job`, no accounting needed); None while it goes on.

    >>> ended("JobId=7 JobState=FAILED Reason=NonZeroExitCode ExitCode=137:0 NodeList=n1")
    Ended(words='FAILED (exit status 137)', cause=<Cause.CRASH: 'crash'>)
    >>> ended("JobId=7 JobState=CANCELLED Reason=None ExitCode=0:9").words
    'CANCELLED (signal 9)'
    >>> ended("JobId=7 JobState=COMPLETING Reason=None")
    """
    state = re.search(r"\bJobState=([A-Z_]+)", record)
    if state is None or state.group(1) in _GOING_ON:
        return None
    ends = re.search(r"\bExitCode=(\d+):(\d+)", record)
    status, signum = ends.groups() if ends else ("0", "0")
    more = f" (signal {signum})" if signum != "0" else f" (exit status {status})" if status != "0" else ""
    return Ended(state.group(1) + more, Cause.NO_FAULT if state.group(1).startswith(_NO_FAULT) else Cause.CRASH)


SYSTEM = Slurm()
