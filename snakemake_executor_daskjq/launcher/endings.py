"""How a forked job ends: as Python ends, though most of the objects in its process are its fork server's.

Python, after Snakemake's `main`: hooks that wake idle threads, threads joined, `atexit`, objects destroyed one by one,
and files written as they go. A child takes the same steps, the last two for what has come since the fork.
"""

from __future__ import annotations

import contextlib
import gc
import io
import sys
import threading
import types
from typing import TYPE_CHECKING, Any

from . import processes, python_internals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, MutableMapping

_SCHEDULERS = ("snakemake.scheduling.job_scheduler", "snakemake.scheduler")  # the second before 9.10

_KEPT = (type, types.FunctionType, types.ModuleType, types.BuiltinFunctionType)
"""What stays in a name to the end: what other objects may need to end themselves."""

_WRITERS = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)


def end_as_python_does(names: MutableMapping[str, Any], before: MutableMapping[str, Any]) -> None:
    """All that Python does between the end of the program and that of the process.

    `names`: the Snakefile's, and those that they were `before` the fork.
    """
    steps: tuple[Callable[[], object], ...] = (
        _cancel_rate_limits,
        python_internals.join_threads,
        python_internals.run_exit_functions,
        lambda: _forget(names, before),
        finalize,
    )
    for step in steps:
        with contextlib.suppress(BaseException):
            step()
    write_out()


def _cancel_rate_limits() -> None:
    """Snakemake's timer fires a second after the last job was selected, when nothing is left to select."""
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer) and getattr(thread.function, "__module__", "") in _SCHEDULERS:
            thread.cancel()


def _forget(names: MutableMapping[str, Any], before: MutableMapping[str, Any]) -> None:
    """Empty the names that are new: what only they held ends by itself, also in C libraries."""
    new = [name for name, value in list(names.items()) if before.get(name, names) is not value]
    for name in new:
        if not isinstance(names[name], _KEPT):
            names[name] = None


def finalize() -> None:
    """Have the objects that are left, and have come since the fork, do what they do at their end."""
    objects = gc.get_objects()  # without the fork server's: those are frozen
    kinds = set(map(type, objects))
    finalizers = {kind: method for kind in kinds if (method := _finalizer(kind))}
    if not finalizers:
        return
    left = [one for one in objects if type(one) in finalizers and not gc.is_finalized(one)]
    _flush(objects)  # wrappers around what is closed here
    # Archives write their end into files, which must be open then.
    for one in sorted(left, key=lambda one: isinstance(one, io.IOBase)):
        with contextlib.suppress(BaseException):
            finalizers[type(one)](one)


def _finalizer(kind: type) -> Callable[[Any], object] | None:
    if issubclass(kind, io.IOBase):
        return None if kind.__module__ in ("_io", "io") else kind.close
    method = getattr(kind, "__del__", None)
    return method if isinstance(method, types.FunctionType) else None


def _flush(objects: Iterable[Any]) -> None:
    files = [one for one in objects if type(one) in _WRITERS]
    files.sort(key=lambda one: type(one) is not io.TextIOWrapper)  # these write to the others
    for stream in files:
        with contextlib.suppress(OSError, ValueError):
            stream.flush()


def write_out() -> None:
    """Write what is left in buffers, also in those of files that a rule left open."""
    left_open = processes.open_files() - {0, 1, 2}
    if left_open:
        _flush(gc.get_objects())
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    if left_open:
        processes.flush_c_streams()
