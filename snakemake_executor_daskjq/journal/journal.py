"""The run's folder and its journal: every decision and outcome, one JSON line each.

The controller writes the journal. What happens at a time goes out in one `write`: whatever dies, all lines but the last
are whole.
A journal that can't be written never stops a run: the user is told once.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..text import file_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .events import Event

SCHEMA = 1
"""Raised when a field changes its meaning; new fields and events don't raise it."""


class RunFolder:
    """`<base>/runs/<name>`: journal, logs of jobs, pilots and controller, and certificates of one run.

    The name of a new one is `<start>-<pid>`.

    `history_path` is all runs' own. `base` is meant in `cwd`, which may be another's by the time that a path is used;
    `shown` is the folder as the user has named it.

    The folder is private to the user (0700): logs and job scripts may name what others should not see.
    """

    def __init__(self, base: Path, name: str | None = None, cwd: Path | None = None) -> None:
        self.base = base
        self._cwd = cwd
        self.name = name or f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
        self.shown = base / "runs" / self.name
        self.path = (cwd or Path()) / self.shown
        self.history_path = (cwd or Path()) / base / "history.json"
        self.journal_path = self.path / "journal.jsonl"
        self.pilot_logs = self.path / "pilots"
        self.tls = self.path / "tls"
        self.dask_log = self.path / "dask.log"
        self._dask_workers = self.path / "dask-workers"
        self.controller_log = self.path / "controller.log"
        self._log_folders: dict[str, Path] = {}  # that are there, by rule

    def create(self) -> None:
        """Create the folders. Raises OSError."""
        self.path.mkdir(parents=True, mode=0o700)
        self.pilot_logs.mkdir(mode=0o700)
        self.tls.mkdir(mode=0o700)

    def sibling(self, name: str) -> RunFolder:
        """That of another run in the same place."""
        return RunFolder(self.base, name, self._cwd)

    def unwritable(self, error: OSError) -> str:
        """What to tell where it can't be written."""
        return f"daskjq can't write its folder {self.shown}: {error}"

    def dask_workers(self, key: str) -> Path:
        """The folder by which Dask workers of a rule, as jobs of their own, find the job of that key."""
        return self._dask_workers / file_name(key)

    def forget_workers(self) -> None:
        """Remove what lets Dask workers find their rules' jobs, and the keys of those that is in it."""
        shutil.rmtree(self._dask_workers, ignore_errors=True)

    def job_log(self, rule: str, key: str) -> Path:
        """The log of one job and attempt; its folder exists afterwards."""
        folder = self._log_folders.get(rule)
        if folder is None:
            folder = self._log_folders[rule] = self.path / "logs" / file_name(rule)
            folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{file_name(key)}.log"


_encode = json.JSONEncoder(separators=(",", ":"), default=str).encode


class Journal:
    """Appends events to `journal.jsonl`."""

    def __init__(self, path: Path, complain: Callable[[str], None]) -> None:
        self._path = path
        self._complain: Callable[[str], None] | None = complain
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with contextlib.suppress(OSError):  # some file systems have no locks
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel takes it back, however the run ends
        self._is_torn = False

    def write(self, *events: Event | tuple[Event, float]) -> None:
        """Write events of now, or with the time at which they were (seconds since the epoch)."""
        if not events:
            return
        now = time.time()
        timed = [event if isinstance(event, tuple) else (event, now) for event in events]
        lines = [_encode(event.record(at)) + "\n" for event, at in timed]
        data = (b"\n" if self._is_torn else b"") + "".join(lines).encode()  # what was cut off spoils no other line
        try:
            if os.write(self._fd, data) < len(data):
                self._is_torn = True
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._is_torn = False
        except OSError as error:
            if self._complain is not None:
                self._complain(f"The journal {self._path} can't be written ({error}); the run goes on without it.")
                self._complain = None

    def cut_off(self) -> None:
        """The last line may lack its end."""
        self._is_torn = True

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._fd)
        self._fd = -1


def end_abandoned(path: Path) -> None:
    """Say that a run is over whose controller has died without saying so. Raises OSError."""
    from . import events  # not in each start of Snakemake, which imports this module

    if any(event.get("event") == events.RunEnded.name for event in read(path)):
        return
    journal = Journal(path, lambda _: None)
    journal.cut_off()
    journal.write(events.RunEnded(cancelled=True))
    journal.close()


def is_written(path: Path) -> bool:
    """Whether a run still writes the journal; True where that can't be known."""
    try:
        with path.open("rb") as journal:
            fcntl.flock(journal, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    return False


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The events of a journal in order; a line cut off by a crash is passed over."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            with contextlib.suppress(ValueError, RecursionError):
                event = json.loads(line)
                if isinstance(event, dict):
                    yield event
