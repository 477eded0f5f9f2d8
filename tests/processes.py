"""Find and end live processes by the variables that they were started with, however far down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress

import psutil


def started_with(variables: Mapping[str, str]) -> list[psutil.Process]:
    """All that have these variables; a zombie runs no more."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if variables.items() <= process.environ().items() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def kill(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # with its parent, or by itself
            process.kill()
