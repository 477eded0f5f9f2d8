"""Starts a job without a fork of the launcher, where nothing has to be awaited for it.

A fork copies the launcher's page tables, and its child every page that it touches before it becomes the job: for a
short job that is more CPU than the job itself takes. What a forked child does in its own time the launcher does here in
its own, so it is only for what takes no time: a job that has to wait, or finds a folder to remove, is forked.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from .processes import show_memory
from .readiness import make_ready_at_once

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..frames import Frame

LEASH_FROM_FD = 100
"""A job's leash is its descriptor of this number or the next that is free: scripts use small ones for their own."""


class Leashes:
    """Have the kernel kill the process groups of jobs when this process ends, however it ends.

    The parent-death signal does that for a forked child, but a child can ask for it by itself only. Here a job inherits
    the reading end of a pipe of its own, whose writing end this process has; when that closes, the kernel sends SIGKILL
    to the reading end's owner, which is the job's process group (`F_SETOWN`, fcntl(2)). A pipe each: kernels before 5.6
    send it to all owners of a pipe whenever one of its ends closes.
    """

    def __init__(self) -> None:
        self._held: dict[str, int] = {}  # writing ends, by job

    @classmethod
    def where_possible(cls) -> Leashes | None:
        """None where the kernel can't do this."""
        if sys.platform != "linux":
            return None
        with contextlib.suppress(OSError), _pipe() as (reading, _):
            fcntl.fcntl(reading, fcntl.F_SETSIG, signal.SIGKILL)
            return cls()
        return None

    def spawn(self, job: str, argv: list[str], environment: Mapping[str, str], cwd: str, log: int) -> int:
        """A process that leads a session, reads nothing, and writes to `log`; its process id. Raises OSError."""
        with _pipe() as (reading, writing):
            fcntl.fcntl(reading, fcntl.F_SETSIG, signal.SIGKILL)
            inherited = fcntl.fcntl(reading, fcntl.F_DUPFD, LEASH_FROM_FD)  # which clears close-on-exec
            try:
                process = subprocess.Popen(
                    argv,
                    env=environment,
                    cwd=cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    close_fds=False,
                )
            finally:
                os.close(inherited)
            process.returncode = 0  # the launcher reaps it
            with contextlib.suppress(OSError):  # it runs: whoever took this for a failure would start it again
                fcntl.fcntl(reading, fcntl.F_SETOWN, -process.pid)
                fcntl.fcntl(reading, fcntl.F_SETFL, os.O_RDONLY | os.O_ASYNC)
                self._held[job] = os.dup(writing)
            return process.pid

    def let_go(self, job: str) -> None:
        """A job has ended, and what it had left behind."""
        if (held := self._held.pop(job, None)) is not None:
            os.close(held)

    def close(self) -> None:
        """In a forked child: this process holds no job."""
        for job in list(self._held):
            self.let_go(job)


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)


def spawned(frame: Frame, environment: Mapping[str, str], leashes: Leashes) -> int | None:
    """The process of a job's child; None where it has to be forked, if only to tell what is wrong."""
    try:
        with _log(frame["log"]) as log:
            if "ready" in frame and not make_ready_at_once(**frame["ready"], cwd=frame["cwd"]):
                return None
            with _on_cpus(frame["cpus"]):
                pid = leashes.spawn(frame["id"], frame["argv"], environment, frame["cwd"], log)
    except (OSError, ValueError, TypeError, LookupError):
        return None
    if "shown_mb" in frame:
        show_memory(pid, frame["shown_mb"])
    return pid


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
