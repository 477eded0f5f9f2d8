"""Linux process control that the standard library does not have: subreaper, parent-death signal, /proc.

On other systems these do nothing; there a job's children are ended by their process group alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> None:
    """Orphans among this process' descendants become its children, instead of init's (prctl(2))."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(signum: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send `signum` to this process when its parent thread ends (prctl(2))."""
    _prctl(_PR_SET_PDEATHSIG, signum)


def _prctl(option: int, argument: int) -> None:
    if sys.platform == "linux":
        _libc().prctl(option, argument, 0, 0, 0)


_loaded_libc: ctypes.CDLL | None = None


def _libc() -> ctypes.CDLL:
    global _loaded_libc
    if _loaded_libc is None:
        _loaded_libc = ctypes.CDLL(None)
    return _loaded_libc


def kill_group(pgid: int, signum: signal.Signals) -> None:
    """Signal a process group; one that is gone is fine."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pgid, signum)


def kill(pid: int, signum: signal.Signals) -> None:
    """Signal a process; one that is gone is fine."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signum)


def children_of(pid: int) -> list[int]:
    """The direct children of a process with one thread, from /proc; empty where that can't be read."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(child) for child in file.read().split()]
    except OSError:
        return []


def environment_value(pid: int, name: str) -> str | None:
    """The variable that a process was started with; None where it has none or can't be read."""
    prefix = f"{name}=".encode()
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            for entry in file.read().split(b"\0"):
                if entry.startswith(prefix):
                    return os.fsdecode(entry.removeprefix(prefix))
    except OSError:
        pass
    return None


def resident_mb(pid: int) -> float:
    """The resident set of a process in MB (10^6 bytes); 0.0 where that can't be read."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except (OSError, IndexError):
        return 0.0
