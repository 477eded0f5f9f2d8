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
    from collections.abc import Mapping

    from ..frames import Frame

LEASH_FROM_FD = 100
"""A job's leash is its descriptor of this number or the next that is free: scripts use small ones for their own."""


class Leash:
    """Has the kernel kill the process groups of jobs when this process ends, however it ends.

    The parent-death signal does that for a forked child, but a child can ask for it by itself only. Here each job
    inherits a descriptor of its own of one pipe, whose writing end only this process holds; when that closes, the
    kernel sends SIGKILL to the descriptor's owner, which is the job's process group (`F_SETOWN`, fcntl(2)).
    """

    def __init__(self) -> None:
        """Raises OSError where the kernel can't do this."""
        self._reading, self._writing = os.pipe()
        try:
            os.close(self._held())
        except OSError:
            os.close(self._reading)
            os.close(self._writing)
            raise

    @classmethod
    def where_possible(cls) -> Leash | None:
        """None where the kernel can't do this."""
        if sys.platform == "linux":
            with contextlib.suppress(OSError):
                return cls()
        return None

    def _held(self) -> int:
        """A descriptor of its own, for a job to inherit."""
        own = os.open(f"/proc/self/fd/{self._reading}", os.O_RDONLY | os.O_NONBLOCK)
        try:
            fcntl.fcntl(own, fcntl.F_SETSIG, signal.SIGKILL)
            return fcntl.fcntl(own, fcntl.F_DUPFD, LEASH_FROM_FD)  # which also clears close-on-exec
        finally:
            os.close(own)

    def spawn(self, argv: list[str], environment: Mapping[str, str], cwd: str, log: int) -> int:
        """A process that leads a session, reads nothing, and writes to `log`; its process id. Raises OSError."""
        held = self._held()
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
            process.returncode = 0  # the launcher reaps it
            with contextlib.suppress(OSError):  # it runs: whoever took this for a failure would start it again
                fcntl.fcntl(held, fcntl.F_SETOWN, -process.pid)
                fcntl.fcntl(held, fcntl.F_SETFL, os.O_RDONLY | os.O_NONBLOCK | os.O_ASYNC)
            return process.pid
        finally:
            os.close(held)


def spawned(frame: Frame, environment: Mapping[str, str], leash: Leash) -> int | None:
    """The process of a job's child; None where it has to be forked, if only to tell what is wrong."""
    with contextlib.ExitStack() as after:
        try:
            log = os.open(frame["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            after.callback(os.close, log)
            if "ready" in frame and not make_ready_at_once(**frame["ready"], cwd=frame["cwd"]):
                return None
            if cpus := frame["cpus"]:
                after.callback(os.sched_setaffinity, 0, os.sched_getaffinity(0))
                os.sched_setaffinity(0, cpus)
            pid = leash.spawn(frame["argv"], environment, frame["cwd"], log)
        except (OSError, ValueError, TypeError, LookupError):
            return None
        if "shown_mb" in frame:
            show_memory(pid, frame["shown_mb"])
        return pid
