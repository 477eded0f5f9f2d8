"""Asks a batch system which of our pilots it still has: one command for all of them, never one for a rule.

Covers what all systems can tell: the ids in the user's list, and a word for the state. Does not cover
accounting (how a pilot ended), which many sites switch off.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ANSWER_S = 30.0
"""A command that asks is killed after this time."""


@dataclass(frozen=True, slots=True)
class Query:
    """A listing command, and the columns of the id and of the state in its lines."""

    command: tuple[str, ...]
    separator: str | None = None
    state_column: int = 1
    reason_column: int | None = None


def query_for(system: str) -> Query:
    """The listing command of a batch system (from its manual page)."""
    user = getpass.getuser()
    return {
        "slurm": Query(("squeue", "--noheader", f"--user={user}", "--format=%i|%T|%r"), "|", 1, 2),
        "pbs": Query(("qstat", "-u", user), None, 9),
        "moab": Query(("showq", "-u", user), None, 2),
        "sge": Query(("qstat", "-u", user), None, 4),
        "lsf": Query(("bjobs", "-noheader", "-o", "jobid stat"), None, 1),
        "oar": Query(("oarstat", "-u", user), None, 1),
        "htcondor": Query(("condor_q", "-autoformat:j", "JobStatus"), None, 1),
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


async def ask(system: str) -> dict[str, str] | None:
    """The states of this user's batch jobs, or None where the system gave no answer."""
    query = query_for(system)
    listing = await output(query.command)
    return None if listing is None else parse(listing, query)


async def output(command: Sequence[str], timeout_s: float = ANSWER_S) -> str | None:
    """What a command of the batch system prints, or None where it fails or gives no answer in time."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return None
    try:
        stdout, _ = await asyncio.wait_for(process.communicate(), timeout_s)
    except TimeoutError:
        os.killpg(process.pid, signal.SIGKILL)  # it may be a script that waits for another program
        await process.wait()
        return None
    return stdout.decode("utf-8", "replace") if process.returncode == 0 else None
