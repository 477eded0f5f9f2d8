"""Runs commands of a batch system: with a time limit, and with the command's own words where it fails."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ANSWER_S = 30.0
"""A command that asks is killed after this time."""

SUBMIT_S = 120.0
"""So is one that submits; Slurm's own gives up sooner (MessageTimeout), and says why."""

CANCEL_S = 10.0
"""So is one that cancels: Snakemake waits for it."""


class CommandError(RuntimeError):
    """A command of the batch system failed or gave no answer in time. Its text is the command's own words."""


async def output(
    command: Sequence[str], timeout_s: float = ANSWER_S, *, env: Mapping[str, str] | None = None
) -> str | None:
    """What a command of the batch system prints, or None where it fails or gives no answer in time."""
    try:
        return await call(command, timeout_s, env=env)
    except (CommandError, OSError):
        return None


async def call(command: Sequence[str], timeout_s: float, *, env: Mapping[str, str] | None = None) -> str:
    """What a command prints to stdout. Raises CommandError, or OSError where it can't be started.

    One that gives no answer in time is killed with all that it started. `env` is its environment, None for this
    process' own.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        env=env,
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
