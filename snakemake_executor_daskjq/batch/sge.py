"""Grid Engine, as recorded from Son of Grid Engine 8.1.9."""

from __future__ import annotations

import re
import resource
from typing import TYPE_CHECKING

from ..text import printable
from . import commands
from .base import BATCH_KEYS, BatchSystem, Cause, Ended, ListedState, mentions, user

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..model.pool import Pool

_PE = re.compile(r"(?:^|\s)-pe\s+\S+\s+(\d+)")
_REASON = re.compile(r"error reason +\d+: +(?:\S+ \S+ \[\d+:\d+\]: )?(.*)")

_LIMIT = "37"
_AFTER_JOB = "100"
"""Codes of `failed` in the accounting record: over a limit, and killed."""

_KILLED = "assumedly after job"
"""What the record says of the latter."""


class Sge(BatchSystem):
    name = "sge"
    keys = BATCH_KEYS | {"parallel_environment"}
    job_class = "sge:SGEJob"
    job_id = r"(?m)^(?:Your job )?(?P<job_id>\d+)\b"
    blanks_in_paths = False
    cancel_kills = True
    in_job = "SGE_JOB_SPOOL_DIR"
    own_variables = (
        *("SGE_O_", "SGE_TASK_", "SGE_STD", "SGE_JOB_SPOOL_DIR", "SGE_CWD_PATH", "SGE_ACCOUNT", "JOB_ID", "JOB_NAME"),
        *("JOB_SCRIPT", "NHOSTS", "NQUEUES", "PE_HOSTFILE", "QUEUE", "REQNAME", "REQUEST", "RESTARTED"),
    )
    core_variables = ("NSLOTS",)
    has_records = True
    state_column = 4

    def directives(self, pool: Pool, excluded: Sequence[str]) -> list[str]:
        lines = list(pool.directives)
        if pool.parallel_environment and _slots(pool) is None:
            lines.append(f"-pe {pool.parallel_environment} {pool.cores}")
        if not mentions(lines, "-S "):
            lines.append("-S /bin/bash")  # the queue's shell is csh at some sites
        if not mentions(lines, "-r "):
            lines.append("-r n")  # a pilot that is lost is replaced by us, where it is still of use
        if excluded:
            lines.append(f"-l hostname=!({'|'.join(f'{host}|{host}.*' for host in excluded)})")
        return lines

    def prologue(self) -> list[str]:
        return ['export PATH="$SGE_O_PATH"']  # that of qsub: rules find the tools that the submitter does

    def shortfall(self, pool: Pool) -> str:
        """
        >>> from snakemake_executor_daskjq.model.pool import Pool
        >>> SYSTEM.shortfall(Pool("main", "sge", cores=4, directives=("-q all.q -pe smp 2",)))
        "its options ask Grid Engine for 2 slots, a pilot has 4 cores: set the pool's parallel_environment \
(--daskjq-parallel-environment NAME; 'qconf -spl' lists them)"
        >>> SYSTEM.shortfall(Pool("main", "sge", cores=4, parallel_environment="smp"))
        ''
        """
        slots = _slots(pool) or (pool.cores if pool.parallel_environment else 1)
        if (slots or 1) >= (pool.cores or 1):
            return ""
        return (
            f"its options ask Grid Engine for {slots} slot{'s' * (slots != 1)}, a pilot has {pool.cores} cores: set "
            "the pool's parallel_environment (--daskjq-parallel-environment NAME; 'qconf -spl' lists them)"
        )

    def granted_mem_mb(self, environ: Mapping[str, str]) -> int | None:
        """The limit of address space that Grid Engine makes of h_vmem times the slots."""
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        return limit // 10**6 if self.is_inside(environ) and limit != resource.RLIM_INFINITY else None

    def list_command(self) -> tuple[str, ...]:
        return ("qstat", "-u", user())

    def state(self, word: str) -> ListedState:
        """
        >>> [SYSTEM.state(word).value for word in ("qw", "hqw", "Eqw", "t", "r", "s", "dr")]
        ['queued', 'held', 'broken', 'running', 'running', 'running', 'ending']
        """
        if "d" in word:
            return ListedState.ENDING
        if "E" in word:
            return ListedState.BROKEN
        if "q" in word:
            return ListedState.HELD if "h" in word else ListedState.QUEUED
        return ListedState.RUNNING

    def reasons_command(self, batch_ids: Sequence[str]) -> tuple[str, ...]:
        return ("qstat", "-j", ",".join(batch_ids))

    def parse_reasons(self, answer: str) -> dict[str, str]:
        parts = re.split(r"(?m)^job_number: +(\d+) *$", re.sub(r"(?m)^=+$", "", answer))
        return {batch_id: _reason(text) for batch_id, text in zip(parts[1::2], parts[2::2], strict=True)}

    async def record(self, batch_id: str) -> Ended | None:
        return ended(await commands.output(("qacct", "-j", batch_id), env=self.own_environment()) or "")

    async def how_ended(self, batch_id: str, patience_s: float) -> Ended:
        # The record of a job that somebody has deleted is that of a killed one. Only the listing tells them apart, and
        # only while the job ends.
        listed = (await self.listed(()) or {}).get(batch_id)
        if listed is not None and listed.state is ListedState.ENDING:
            return Ended("deleted", Cause.NO_FAULT)
        found = await super().how_ended(batch_id, patience_s)
        if listed is not None and found.words.startswith(_KILLED):
            return Ended(found.words, Cause.CRASH)
        return found


def _slots(pool: Pool) -> int | None:
    """The slots that a directive asks for, None where none does."""
    found = next(filter(None, map(_PE.search, pool.directives)), None)
    return int(found.group(1)) if found else None


def _reason(text: str) -> str:
    """Why a job waits, from its part of `qstat -j`: the error, else the scheduler's words, without those of each queue.

    >>> _reason("error reason          1:      11/28/2026 10:23:44 [1001:8457]: error: can't chdir to /nonexistent")
    "error: can't chdir to /nonexistent"
    >>> _reason('scheduling info:            queue instance "main.q@a" dropped because it is full\\n'
    ...         '                            All queues dropped because of overload or full')
    'All queues dropped because of overload or full'
    """
    if error := _REASON.search(text):
        return error.group(1).strip()
    lines = text.partition("scheduling info:")[2].splitlines()
    said = [line.strip() for line in lines if line.strip() and not line.strip().startswith("(Collecting of")]
    general = [line for line in said if not line.startswith("queue instance")]
    telling = [line for line in general if not line.startswith("All queues dropped")]
    return "; ".join((telling or general or said)[:2])


def ended(record: str) -> Ended | None:
    """How a job ended, from its accounting record (`qacct -j`, which may be written late); None while there is none.

    >>> ended("failed       100 : assumedly after job\\nexit_status  137                  (Killed)\\n").words
    'assumedly after job (exit status 137)'
    >>> ended("failed       0\\nexit_status  3\\n")
    Ended(words='exit status 3', cause=<Cause.CRASH: 'crash'>)
    >>> ended("error: job id 82 not found\\n")
    """
    fields = dict(re.findall(r"(?m)^(\w+) +(.*?) *$", re.split(r"(?m)^=+$", printable(record))[-1]))  # the last start's
    if "failed" not in fields:
        return None
    code, _, words = (part.strip() for part in fields["failed"].partition(":"))
    status = fields.get("exit_status", "").partition(" ")[0]
    if code == "0":
        return Ended("completed", Cause.NO_FAULT) if status == "0" else Ended(f"exit status {status}", Cause.CRASH)
    if code == _LIMIT:
        return Ended(words, _cause_of_limit(fields))
    how = f"{words or f'failed {code}'} (exit status {status})"
    return Ended(how, Cause.UNKNOWN if code == _AFTER_JOB else Cause.CRASH)


def _cause_of_limit(fields: Mapping[str, str]) -> Cause:
    """Whether it was h_rt or another one of the limits that the record names together; a queue may have its own."""
    asked = re.search(r"\bh_rt=([\d:]+)", fields.get("category", ""))
    took = re.match(r"\d+", fields.get("ru_wallclock", ""))
    if not asked or not took:
        return Cause.UNKNOWN
    limit_s = 0
    for part in asked.group(1).split(":"):
        limit_s = 60 * limit_s + int(part or 0)
    return Cause.NO_FAULT if int(took.group()) >= limit_s else Cause.CRASH


SYSTEM = Sge()
