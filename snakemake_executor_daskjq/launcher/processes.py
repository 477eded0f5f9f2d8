"""Linux process control that the standard library does not have: subreaper, parent-death signal, /proc.

On other systems these do nothing; there a job's children are ended by their process group alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

JOB_VARIABLE = "DASKJQ_JOB"
"""Set in every job's environment: finds those of its descendants that left its session."""

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PR_SET_CHILD_SUBREAPER = 36
_MADV_COLLAPSE = 25  # linux/mman.h; Linux 6.1
_HUGE_PAGE_BYTES = 2 * 2**20

_THREAD_END_S = 1.0
"""So long at most a joined thread may take to end, on a busy machine."""


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


def show_memory(pid: int, megabytes: float) -> None:
    """Have libraries in a process and its children take so much (MB of 10^6 bytes) for the memory of the machine.

    Dask looks at the limit of the resident set, which Linux itself does not enforce (getrlimit(2)).
    """
    if sys.platform != "linux":
        return
    import resource

    size = int(megabytes * 10**6)
    for one in (pid, *descendants_of(pid)):  # those that it has started before; later ones inherit
        with contextlib.suppress(OSError, ValueError, OverflowError):  # it is gone, or has a smaller limit already
            resource.prlimit(one, resource.RLIMIT_RSS, (size, size))


def kill_group(pgid: int, signum: signal.Signals) -> None:
    """Signal a process group; one that is gone is fine."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pgid, signum)


def kill(pid: int, signum: signal.Signals) -> None:
    """Signal a process; one that is gone is fine."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signum)


def children_of(pid: int) -> list[int]:
    """The direct children of a process, of whichever thread, from /proc; empty where that can't be read."""
    children: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:
                children += map(int, file.read().split())
    return children


def descendants_of(*pids: int) -> list[int]:
    """All processes below these, as far as no parent in between is gone."""
    found = list(pids)
    for pid in found:  # grows while it is walked
        found += children_of(pid)
    return found[len(pids) :]


def has_threads() -> bool:
    """Whether this process has threads besides the calling one, Python's own or not.

    For a moment the kernel still lists a thread that Python has joined already.
    """
    if threading.active_count() > 1:
        return True
    until = time.monotonic() + _THREAD_END_S
    while sys.platform == "linux" and len(os.listdir("/proc/self/task")) > 1:
        if time.monotonic() > until:
            return True
        time.sleep(0.001)
    return False


def session_of(pid: int) -> int | None:
    """The session of a process, None if it is gone."""
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return None


def reaped(pid: int) -> bool:
    """True if there is no such process any more; takes the exit status of one that is this process' child."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return not os.path.exists(f"/proc/{pid}")


def reap_all_but(pids: Collection[int]) -> None:
    """Take the exit status of every ended child of this process but these, and those of its own session."""
    for pid in children_of(os.getpid()):
        if pid not in pids and session_of(pid) != os.getsid(0):
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def orphans_of(jobs: Collection[str]) -> set[int]:
    """The children of this process that were started for one of these jobs and have not ended."""
    return {pid for pid in children_of(os.getpid()) if environment_value(pid, JOB_VARIABLE) in jobs}


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


def write_to(pids: Iterable[int], paths: Collection[str]) -> bool:
    """Whether one of these processes, or of those below them, has one of these files open for writing."""
    wanted = {os.path.realpath(path) for path in paths}
    for pid in (*pids, *descendants_of(*pids)):
        with contextlib.suppress(OSError, ValueError):
            for fd in os.listdir(f"/proc/{pid}/fd"):
                if os.readlink(f"/proc/{pid}/fd/{fd}") in wanted and _opened_to_write(pid, fd):
                    return True
    return False


def _opened_to_write(pid: int, fd: str) -> bool:
    with open(f"/proc/{pid}/fdinfo/{fd}", encoding="ascii") as file:
        flags = next((int(line.split()[1], 8) for line in file if line.startswith("flags:")), 0)
    return flags & os.O_ACCMODE != os.O_RDONLY


def is_snakemake(pid: int) -> bool:
    """Whether a process was started as `python -m snakemake`."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return b"\0-m\0snakemake\0" in file.read()
    except OSError:
        return False


Measure: TypeAlias = "Callable[[int], float]"


def proportional_mb(pid: int) -> float:
    """The proportional set of a process in MB, without pages of mapped files; 0.0 where that can't be read."""
    parts: dict[str, int] = {}
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii", errors="replace") as file:
            for line in file:
                name, _, rest = line.partition(":")
                if name.startswith("Pss"):
                    parts[name] = int(rest.split()[0])
    except (OSError, ValueError, IndexError):
        return 0.0
    return (parts.get("Pss", 0) - parts.get("Pss_File", 0)) * 1024 / 1e6


def resident_mb(pid: int) -> float:
    """The resident set of a process in MB (10^6 bytes); 0.0 where that can't be read."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except (OSError, IndexError):
        return 0.0


def open_files() -> set[int]:
    """The descriptors that this process has open."""
    with os.scandir("/proc/self/fd" if sys.platform == "linux" else "/dev/fd") as entries:
        found = {int(entry.name) for entry in entries}
    return {fd for fd in found if _is_open(fd)}  # without the listing's own


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def flush_c_streams() -> None:
    """Write what C libraries have in buffers of their own (fflush(3))."""
    if sys.platform == "linux":
        _libc().fflush(None)


def use_huge_pages() -> None:
    """Have the kernel put this process' memory into huge pages (madvise(2)), where it can.

    A fork copies one entry for each page, and its end frees them: of huge pages there are 512 times fewer.
    """
    if sys.platform != "linux":
        return
    with open("/proc/self/maps", encoding="ascii", errors="replace") as file:
        lines = [line.split() for line in file]
    libc = _libc()
    for line in lines:
        private_and_anonymous = line[1] == "rw-p" and (len(line) == 5 or line[5] == "[heap]")
        if private_and_anonymous:
            start, end = (int(bound, 16) for bound in line[0].split("-"))
            start += -start % _HUGE_PAGE_BYTES
            length = (end - start) // _HUGE_PAGE_BYTES * _HUGE_PAGE_BYTES
            if length > 0:
                libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), _MADV_COLLAPSE)
