"""What a parse has changed in its process that forked jobs would not have as if each had parsed by itself."""

from __future__ import annotations

import contextlib
import importlib
import os
import random
import signal
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import processes

if TYPE_CHECKING:
    from collections.abc import Collection

_STATELESS = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")

_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)

UNFIT_LIBRARIES = {
    **dict.fromkeys(("torch", "tensorflow", "jax", "cupy", "pycuda", "pyopencl"), "which may not work after a fork"),
    **dict.fromkeys(
        ("polars", "h5py", "netCDF4", "duckdb", "pysam", "cyvcf2", "pyBigWig", "rasterio", "rpy2", "tables", "tiledb"),
        "which opens files unseen",
    ),
}
"""Loaded by a Snakefile, they may have done what Python hears nothing of."""


def wait_for_library_threads() -> None:
    """Have libraries end their threads that end by themselves before a fork, as OpenBLAS has them do."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def import_random_numbers() -> None:
    """Load numpy's random numbers where numpy is installed: there is a state to compare with then.

    Snakemake itself loads the rest of numpy.
    """
    with contextlib.suppress(ImportError):
        importlib.import_module("numpy.random")


@dataclass(frozen=True, slots=True)
class ProcessState:
    """The state of this process at one moment."""

    cwd: str = field(default_factory=os.getcwd)
    descriptors: frozenset[tuple[int, str]] = field(default_factory=lambda: frozenset(_descriptors()))
    handlers: tuple[Any, ...] = field(default_factory=lambda: tuple(map(signal.getsignal, sorted(_signals()))))
    random_numbers: tuple[Any, ...] = field(default_factory=lambda: tuple(_random_numbers()))
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    tempdir: str | None = field(default_factory=lambda: tempfile.tempdir)
    libraries: frozenset[str] = field(default_factory=lambda: frozenset(UNFIT_LIBRARIES.keys() & sys.modules.keys()))
    children: frozenset[int] = field(default_factory=lambda: frozenset(processes.children_of(os.getpid())))

    def doubts_after(self, after: ProcessState, snakemakes: Collection[int] = ()) -> list[str]:
        """Why jobs must not be forked from the process in its state `after` the parse.

        `snakemakes`: descriptors that Snakemake has opened, and that each job sees to.
        """
        doubts = []
        if after.cwd != self.cwd:
            doubts.append("changes its working directory")
        kept = sorted(link for fd, link in after.descriptors - self.descriptors if fd not in snakemakes)
        doubts += [f"keeps {link} open" for link in kept]
        changed = [new for old, new in zip(self.handlers, after.handlers, strict=True) if old != new]
        if any(not isinstance(handler, signal.Handlers) for handler in changed):
            doubts.append("handles signals")  # ignored ones, and those put back, a fork has as they are
        if any(signal.getitimer(timer) != (0.0, 0.0) for timer in _TIMERS):
            doubts.append("sets an alarm")  # which no fork has
        if after.random_numbers != self.random_numbers:
            doubts.append("uses random numbers")
        if after.tempdir != self.tempdir:
            doubts.append("sets tempfile.tempdir")
        if after.children - self.children:
            doubts.append("leaves a process running")
        if threading.active_count() > 1:
            doubts.append("starts threads")
        doubts += [f"uses {name}, {UNFIT_LIBRARIES[name]}" for name in sorted(after.libraries - self.libraries)]
        return doubts

    def assigned_variables(self, after: ProcessState) -> set[str]:
        """The variables of the environment that are others now."""
        names = self.environment.keys() | after.environment.keys()
        return {name for name in names if self.environment.get(name) != after.environment.get(name)}


def _descriptors() -> set[tuple[int, str]]:
    found = set()
    for fd in processes.open_files():
        try:
            link = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        if link not in _STATELESS:
            found.add((fd, link))
    return found


def _signals() -> set[signal.Signals]:
    return signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}


def _random_numbers() -> list[Any]:
    states: list[Any] = [random.getstate()]
    if mtrand := sys.modules.get("numpy.random.mtrand"):
        name, keys, *rest = mtrand.get_state()
        states.append((name, keys.tobytes(), *rest))
    return states
