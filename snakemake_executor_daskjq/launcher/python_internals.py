"""All that fork servers use of CPython beyond what its documentation promises; written for 3.11 to 3.14.

`missing` is asked before a fork server serves: where something is not there, jobs start colder. (`copy_on_write` writes
to reference counts, and finds out by itself whether they are as it knows them.)
"""

from __future__ import annotations

import asyncio.runners
import atexit
import contextlib
import importlib
import logging
import signal
import threading
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_signal: Any = importlib.import_module("_signal")  # what `signal` is made of

_USED: tuple[tuple[Any, str], ...] = (
    (threading, "_shutdown"),
    (threading, "_dangling"),
    (atexit, "_run_exitfuncs"),
    (logging, "_handlerList"),
    (_signal, "signal"),
    (_signal, "getsignal"),
    (asyncio.runners, "signal"),
)


def missing() -> str:
    """What this Python lacks of what is used, in words; "" where it has all."""
    return ", ".join(f"{module.__name__}.{name}" for module, name in _USED if not hasattr(module, name))


def join_threads() -> None:
    """What Python does first at its end: it calls the hooks that wake idle threads, and waits for all threads."""
    threading._shutdown()  # type: ignore[attr-defined]


def run_exit_functions() -> None:
    """Call what was registered with `atexit`."""
    atexit._run_exitfuncs()


def forget_ended_threads() -> None:
    """Python gives new locks to every thread object that it knows after a fork, ended ones included."""
    known = threading._dangling  # type: ignore[attr-defined]
    for thread in list(known):
        if not thread.is_alive():
            known.discard(thread)


def forget_null_handlers() -> None:
    """`logging` visits every handler at a fork and at the end, also those that libraries have for nothing."""
    handlers: list[Callable[[], logging.Handler | None]] = logging._handlerList  # type: ignore[attr-defined]
    handlers[:] = [one for one in handlers if type(one()) is not logging.NullHandler]


def set_handler(signum: signal.Signals, handler: Any) -> None:
    """As `signal.signal`, which takes long to find that the handler so far has no name where that is a function."""
    _signal.signal(signum, int(handler) if isinstance(handler, signal.Handlers) else handler)


def have_asyncio_set_signals_directly() -> None:
    """Have `asyncio` set the handler of each coroutine that is run without looking for names of signals."""
    direct = types.ModuleType("signal")
    vars(direct).update(vars(signal))
    vars(direct).update(signal=_signal.signal, getsignal=_signal.getsignal)
    asyncio.runners.signal = direct  # type: ignore[attr-defined]


def descriptors_of(loop: object) -> set[int]:
    """The files that an event loop has opened for itself, as far as it can be seen."""
    found = set()
    for one in (getattr(loop, name, None) for name in ("_selector", "_ssock", "_csock")):
        with contextlib.suppress(AttributeError, ValueError, OSError):
            found.add(one.fileno())  # type: ignore[union-attr]
    return found
