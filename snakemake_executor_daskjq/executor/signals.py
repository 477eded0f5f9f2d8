"""Which signals end a run, and what they do while it is ending."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

ENDING = b"daskjq: still ending jobs and pilots; leaving now would leave them behind. One moment.\n"


INSISTED = b"daskjq: ending jobs, and now all pilots, too. One moment.\n"


class RunSignals:
    """The signal handlers of a run; they are Python's, so only the main thread can set them.

    Snakemake answers SIGTERM by waiting for all jobs that it handed over, which may be thousands that wait
    for a pilot. Here SIGTERM and SIGHUP end the run as Ctrl-C does.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}

    def catch(self) -> None:
        """From the first job on."""
        self._set(_interrupt, signal.SIGTERM, signal.SIGHUP)

    def renew(self) -> None:
        """Have the kernel tell Python of signals again, in each of Snakemake's rounds.

        A library that is imported meanwhile may take them for itself beneath Python, as Polars does, which Snakemake
        imports for the first script: Ctrl-C would not wake the thread that waits for jobs.
        """
        if _in_main_thread():
            for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                handler = signal.getsignal(signum)
                if callable(handler):
                    signal.signal(signum, handler)

    def hold(self, insist: Callable[[], None] | None = None) -> None:
        """While jobs and pilots are ended, which takes seconds and must not be cut short.

        A signal then calls `insist`, where there is something to insist on.
        """

        def still_ending(signum: int, frame: object) -> None:
            os.write(2, ENDING if insist is None else INSISTED)  # a logger could be in the middle of a line
            if insist is not None:
                insist()

        self._set(still_ending, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def restore(self) -> None:
        if _in_main_thread():
            for signum, handler in self._before.items():
                signal.signal(signum, handler)
            self._before.clear()

    def _set(self, handler: Callable[[int, object], None], *signums: signal.Signals) -> None:
        if _in_main_thread():
            for signum in signums:
                before = signal.getsignal(signum)
                if before is not signal.SIG_IGN:  # as under nohup, which means that the run shall go on
                    signal.signal(signum, handler)
                    self._before.setdefault(signum, before)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _interrupt(signum: int, frame: object) -> None:
    raise SystemExit(128 + signum)  # Snakemake's scheduler catches it, and cancels
