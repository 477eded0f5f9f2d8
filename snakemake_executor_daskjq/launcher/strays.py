"""What jobs leave behind: processes that lost their parent. A launcher is a subreaper: they are its children then."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Protocol

from . import processes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

END_S = 2.0
"""So long at most a launcher that ends goes on killing strays."""


class _Child(Protocol):
    @property
    def job(self) -> str: ...


def strays_of(children: Mapping[int, _Child], guard: int | None = None) -> dict[str | None, list[int]]:
    """The strays of this process by their jobs, where `children` are the jobs' own processes, and `guard` is ours.

    One in its job's session is known by that, one that left it by the environment that it was started with.
    """
    strays: dict[str | None, list[int]] = {}
    for pid in processes.children_of(os.getpid()):
        if pid not in children and pid != guard:
            leader = children.get(processes.session_of(pid) or 0)
            job = leader.job if leader else processes.environment_value(pid, processes.JOB_VARIABLE)
            strays.setdefault(job, []).append(pid)
    return strays


def end_all(find: Callable[[], Mapping[str | None, list[int]]]) -> None:
    """End all strays that are left when the launcher ends, also what comes to it only now.

    A direct start's child may end before those below it: what a process has started that is killed at this moment
    becomes the launcher's child a moment later, and nobody looks for it once the launcher is gone.
    """
    until = time.monotonic() + END_S
    while left := [pid for pids in find().values() for pid in pids]:
        for pid in left:
            processes.kill(pid, signal.SIGKILL)
        for pid in left:
            processes.reaped(pid)
        if time.monotonic() >= until:
            break
        time.sleep(0.005)
