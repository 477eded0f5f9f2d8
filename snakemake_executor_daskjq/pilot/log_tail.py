"""What a failed job's log tells: its last lines, and how the rule's own command failed."""

from __future__ import annotations

import os
import re

from ..text import printable

MAX_BYTES = 4096
MAX_LINES = 20

_EXIT_STATUS = re.compile(r"returned non-zero exit status (\d+)")
_SIGNAL = re.compile(r"died with <Signals\.(SIG[A-Z0-9]+): \d+>")


# What every job's Snakemake says, whatever happened: it would crowd out what the rule said.
_ROUTINE = (
    "Building DAG of jobs...",
    "Using shell: ",
    "Select jobs to execute...",
    "Execute 1 jobs...",
    "Shutting down, this might take some time.",
    "Exiting because a job execution failed.",
    "Storing output in storage.",
    "Elapsed time: ",
    "WorkflowError:",
    "At least one job did not complete successfully.",
)


def read(path: str) -> str:
    """The last lines of a log, fit for a terminal; "" where it can't be read."""
    try:
        with open(path, "rb") as file:
            file.seek(0, os.SEEK_END)
            size = file.tell()
            file.seek(max(0, size - MAX_BYTES))
            data = file.read()
    except OSError:
        return ""
    lines = printable(data.decode("utf-8", "replace")).splitlines()
    if size > MAX_BYTES:
        del lines[0]  # most likely cut
    return "\n".join([line for line in lines if line.strip() and not line.startswith(_ROUTINE)][-MAX_LINES:])


def rule_failure(tail: str) -> str:
    """How the rule's command failed, in the words of the job's own Snakemake; "" where it does not say.

    >>> rule_failure("Command 'false' returned non-zero exit status 3.")
    'exit status 3'
    >>> rule_failure("died with <Signals.SIGKILL: 9>.")
    'ended by SIGKILL'
    """
    statuses = _EXIT_STATUS.findall(tail)
    signals = _SIGNAL.findall(tail)
    if statuses:
        return f"exit status {statuses[-1]}"
    return f"ended by {signals[-1]}" if signals else ""
