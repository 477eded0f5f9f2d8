"""Asks a batch system which of our pilots it still has: one command for all of them, never one for a rule.

Covers what all systems can tell: the ids in the user's list, and a word for the state. Does not cover
accounting (how a pilot ended), which many sites switch off.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ANSWER_S = 30.0
"""A command that asks is killed after this time."""

SUBMIT_S = 120.0
"""So is one that submits; Slurm's own gives up sooner (MessageTimeout), and says why."""

CANCEL_S = 10.0
"""So is one that cancels: Snakemake waits for it."""


class CommandError(RuntimeError):
    """A command of the batch system failed or gave no answer in time. Its text is the command's own words."""


@dataclass(frozen=True, slots=True)
class Query:
    """A listing command, and the columns of the id and of the state in its lines."""

    command: tuple[str, ...]
    separator: str | None = None
    state_column: int = 1
    reason_column: int | None = None
    held: tuple[str, ...] = ()  # states, or reasons, in which a job starts only once somebody releases it


SLURM_HELD = ("JobHeldUser", "JobHeldAdmin", "JobHoldMaxRequeue", "launch failed requeued held")


def query_for(system: str) -> Query:
    """The listing command of a batch system (from its manual page)."""
    user = getpass.getuser()
    return {
        "slurm": Query(("squeue", "--noheader", f"--user={user}", "--format=%i|%T|%r"), "|", 1, 2, SLURM_HELD),
        "pbs": Query(("qstat", "-u", user), None, 9, held=("H",)),
        "moab": Query(("showq", "-u", user), None, 2, held=("UserHold", "SystemHold", "BatchHold", "Hold")),
        "sge": Query(("qstat", "-u", user), None, 4, held=("hqw", "Eqw")),
        "lsf": Query(("bjobs", "-noheader", "-o", "jobid stat"), None, 1, held=("PSUSP",)),
        "oar": Query(("oarstat", "-u", user), None, 1, held=("H", "Hold")),
        "htcondor": Query(("condor_q", "-autoformat:j", "JobStatus"), None, 1, held=("5",)),
    }[system]


def parse(listing: str, query: Query) -> dict[str, str]:
    """State (with the reason, where there is one) by batch id.

    Lines that are no job (headers, rules, messages) are passed over: an id starts with a digit.

    >>> parse("7|PENDING|Resources\\n8|RUNNING|None\\n", query_for("slurm"))
    {'7': 'PENDING (Resources)', '8': 'RUNNING'}
    >>> parse("job-ID prior name user state\\n------\\n 12 0.5 daskjq me qw 11/24/2026\\n", query_for("sge"))
    {'12': 'qw'}
    >>> parse("12.0 1\\n", query_for("htcondor"))
    {'12.0': '1'}
    """
    states: dict[str, str] = {}
    for line in listing.splitlines():
        columns = [column.strip() for column in line.split(query.separator)]
        if not columns or not columns[0][:1].isdecimal():
            continue
        batch_id = columns[0]
        if query.command[0] != "condor_q":
            batch_id = batch_id.partition(".")[0]  # 123.server
        state = columns[query.state_column] if len(columns) > query.state_column else ""
        reason = columns[query.reason_column] if query.reason_column and len(columns) > query.reason_column else ""
        states[batch_id] = f"{state} ({reason})" if reason not in ("", "None") else state
    return states


def is_held(state: str, query: Query) -> bool:
    """True for a state of `parse` that ends only when somebody releases the job.

    >>> is_held("PENDING (JobHeldUser)", query_for("slurm")), is_held("PENDING (Priority)", query_for("slurm"))
    (True, False)
    >>> is_held("hqw", query_for("sge")), is_held("qw", query_for("sge"))
    (True, False)
    """
    word, _, reason = state.partition(" (")
    return word in query.held or reason.removesuffix(")") in query.held


async def ask(system: str) -> dict[str, str] | None:
    """The states of this user's batch jobs, or None where the system gave no answer."""
    query = query_for(system)
    listing = await output(query.command)
    return None if listing is None else parse(listing, query)


async def output(command: Sequence[str], timeout_s: float = ANSWER_S) -> str | None:
    """What a command of the batch system prints, or None where it fails or gives no answer in time."""
    try:
        return await call(command, timeout_s)
    except (CommandError, OSError):
        return None


async def call(command: Sequence[str], timeout_s: float) -> str:
    """What a command prints to stdout. Raises CommandError, or OSError where it can't be started.

    One that gives no answer in time is killed with all that it started.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        stdout, stderr = await asyncio.wait_for(process.communicate(), timeout_s)
    except BaseException as error:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # it may be a script that waits for another program
        await process.wait()
        if isinstance(error, TimeoutError):
            raise CommandError(f"{command[0]} gave no answer in {timeout_s:g} s, and was killed") from None
        raise
    if process.returncode != 0:
        words = (stderr.strip() or stdout.strip()).decode("utf-8", "replace")
        raise CommandError(" ".join(words.split()) or f"{command[0]} ended with exit status {process.returncode}")
    return stdout.decode("utf-8", "replace")
