"""Starts a direct start's job without a fork of the launcher, where nothing has to be awaited for it.

A fork copies the launcher's page tables, and its child every page that it touches before it becomes the job: for a
short job that is more CPU than the job itself takes. What a forked child does in its own time the launcher does here in
its own, so it is only for what takes no time: a job that has to wait, or finds a folder to remove, is forked.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import subprocess
from typing import TYPE_CHECKING

from .processes import show_memory
from .readiness import make_ready_at_once

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..frames import Frame

GUARD_END_S = 1.0

SLOT_BYTES = 12
SLOTS = 4096

GUARD = """trap '' TERM INT HUP; read _; kill -s KILL -- $(cat "$0")"""
"""What the guard runs: it waits for the end of its input, and kills what is in the table then."""


class Guard:
    """A shell beside this process, which kills the process groups of its jobs when it has died, however that came.

    The parent-death signal does that for a forked child, but a child can ask for it by itself only. The groups are in
    a table in memory that both share, so a job costs the guard nothing. It holds no name of ours that somebody who
    kills processes by name would find.
    """

    def __init__(self) -> None:
        """Raises OSError where it can't be started."""
        self._free = list(range(SLOTS))
        self._slots: dict[int, int] = {}  # by process id
        table = os.memfd_create("table")
        alive, self._alive = os.pipe()
        try:
            os.truncate(table, SLOTS * SLOT_BYTES)
            self._table = mmap.mmap(table, SLOTS * SLOT_BYTES)
            self._table[:] = b" " * len(self._table)
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", GUARD, f"/dev/fd/{table}"],
                stdin=alive,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[table],
                start_new_session=True,
            )
        except BaseException:
            os.close(self._alive)
            raise
        finally:
            os.close(table)
            os.close(alive)

    @classmethod
    def where_possible(cls) -> Guard | None:
        """None where this machine can't do it."""
        with contextlib.suppress(OSError, AttributeError):  # AttributeError: no Linux
            return cls()
        return None

    @property
    def pid(self) -> int:
        return self._process.pid

    def has_room(self) -> bool:
        return bool(self._free)

    def watch(self, pid: int) -> None:
        """From now on, the group that this process leads ends with us."""
        slot = self._slots[pid] = self._free.pop()
        self._write(slot, f"-{pid}")

    def forget(self, pid: int) -> None:
        """A process has ended; called before it is reaped, for then its id may become another's."""
        if (slot := self._slots.pop(pid, None)) is not None:
            self._write(slot, "")
            self._free.append(slot)

    def _write(self, slot: int, text: str) -> None:
        start = slot * SLOT_BYTES
        self._table[start : start + SLOT_BYTES] = text.ljust(SLOT_BYTES).encode()

    def close(self) -> None:
        """No job is left: end the guard."""
        os.close(self._alive)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GUARD_END_S)

    def leave(self) -> None:
        """In a forked child: the guard is its parent's."""
        os.close(self._alive)


def spawned(frame: Frame, environment: Mapping[str, str], guard: Guard) -> int | None:
    """The process of a job's child; None where it has to be forked, if only to tell what is wrong."""
    if not guard.has_room():
        return None
    try:
        with _log(frame["log"]) as log:
            if not make_ready_at_once(**frame["ready"], cwd=frame["cwd"]):
                return None
            with _on_cpus(frame["cpus"]):
                pid = _started(frame["argv"], environment, frame["cwd"], log)
    except (OSError, ValueError, TypeError, LookupError):
        return None
    guard.watch(pid)
    if "shown_mb" in frame:
        show_memory(pid, frame["shown_mb"])
    return pid


def _started(argv: list[str], environment: Mapping[str, str], cwd: str, log: int) -> int:
    """A process that leads a session, reads nothing, and writes to `log`. Raises OSError."""
    process = subprocess.Popen(
        argv,
        env=environment,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        close_fds=False,  # all of ours close by themselves; only so it is a vfork
    )
    process.returncode = 0  # the launcher reaps it
    return process.pid


@contextlib.contextmanager
def _log(path: str) -> Iterator[int]:
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        yield log
    finally:
        with contextlib.suppress(OSError):  # a network file system may tell only here that it is full
            os.close(log)


@contextlib.contextmanager
def _on_cpus(cpus: list[int]) -> Iterator[None]:
    """What is started is pinned to these CPUs, if there are any."""
    if not cpus:
        yield
        return
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # some have gone offline
            os.sched_setaffinity(0, own)
