"""What the batch system knows of a pilot that went away: how it ended, and that it is over.

Covers Slurm's own record (`scontrol`, no accounting needed). Does not cover how pilots of other systems ended:
there, that a pilot is no longer listed is all that is known.
"""

from __future__ import annotations

import asyncio
import re
import time

from . import batch

ASK_EVERY_S = 1.0
GOING_ON = ("PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "COMPLETING")


def parse(record: str) -> str:
    """How a batch job ended, in Slurm's words (one line of `scontrol --oneliner show job`); "" while it goes on.

    >>> parse("JobId=7 JobState=FAILED Reason=NonZeroExitCode ExitCode=137:0 NodeList=n1")
    'FAILED (exit status 137)'
    >>> parse("JobId=7 JobState=CANCELLED Reason=None ExitCode=0:9"), parse("JobId=7 JobState=COMPLETING Reason=None")
    ('CANCELLED (signal 9)', '')
    """
    state = re.search(r"\bJobState=([A-Z_]+)", record)
    if state is None or state.group(1) in GOING_ON:
        return ""
    ends = re.search(r"\bExitCode=(\d+):(\d+)", record)
    status, signum = ends.groups() if ends else ("0", "0")
    more = f" (signal {signum})" if signum != "0" else f" (exit status {status})" if status != "0" else ""
    return state.group(1) + more


async def how_ended(system: str, batch_id: str, patience_s: float) -> str:
    """How the batch job ended, in the system's words; "" where it does not say within `patience_s`."""
    until = time.monotonic() + patience_s
    while system == "slurm":
        record = await batch.output(("scontrol", "--oneliner", "show", "job", batch_id))
        if words := parse(record or ""):
            return words
        if time.monotonic() + ASK_EVERY_S > until:
            break
        await asyncio.sleep(ASK_EVERY_S)
    return ""


async def until_gone(system: str, batch_id: str, patience_s: float) -> bool:
    """Wait until the system no longer lists the batch job; False if it still does after `patience_s`."""
    until = time.monotonic() + patience_s
    while True:
        states = await batch.ask(system)
        if states is not None and batch_id not in states:
            return True
        if time.monotonic() + ASK_EVERY_S > until:
            return False
        await asyncio.sleep(ASK_EVERY_S)
