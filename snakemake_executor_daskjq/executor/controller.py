"""Snakemake's end of the controller: starts the process, hands it jobs, hears of their ends, and buries it.

What must hold: no call waits longer for the controller than its watchdog does; when it has died or hangs, it is killed,
what it has left is ended by a process of its own (`controller.sweep`), and the run hears of that as of an error.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent import futures
from typing import TYPE_CHECKING, Protocol

from ..controller import protocol
from ..errors import ControllerError, defect
from ..frames import Decoder, Frame, FrameError, encode
from ..journal import journal
from ..text import printable
from .watchdog import PING_S, Verdict, Watchdog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..config.settings import Config
    from ..controller.protocol import Begin, Ended, Stopped
    from ..journal.journal import RunFolder
    from ..model.job_spec import JobSpec
    from ..model.pool import Pool
    from ..model.request import Outlook, Request

START_S = 300.0
"""Importing Dask from a cold network file system may take minutes; the controller answers no pings meanwhile."""

STOP_PATIENCE_S = 8.0
"""The same as the lease where the run is to end: somebody waits for that."""

STOP_S = 90.0
"""A controller that has not ended everything by then is killed: running jobs have ended long before."""

SWEEP_S = 100.0
"""So long it may take to end what a dead controller has left."""

EXIT_S = 10.0
CLOSED_S = 2.0
"""Between the end of the stream and that of the process, where that was killed or crashed."""

PACKAGE = "snakemake_executor_daskjq.controller"
READ_BYTES = 2**18
WORDS = 500
"""So much is shown of a dead controller's log."""


class Hears(Protocol):
    """Who hears what the controller says. Called in a thread of its own; must not block."""

    def jobs_ended(self, ends: list[Ended]) -> None: ...

    def hear(self, level: str, text: str) -> None:
        """A line for the user: `tell` or `warn`."""

    def give_up(self, text: str) -> None: ...


class Controller:
    """A controller process. `submit`, `unstarted`, `reported`, `flush` and `stop` may be used from any thread."""

    def __init__(self, config: Config, cores_limit: int | None, hears: Hears) -> None:
        """Start the process, and have it complete the pools. Raises OSError."""
        self._hears = hears
        self._lease_s = config.lease_s
        self._scheduler = (config.scheduler,) if config.scheduler else ()
        self._folder: RunFolder | None = None
        self._pools: futures.Future[tuple[Pool, ...]] = futures.Future()
        self._begun: futures.Future[str] = futures.Future()
        self._stopped: Stopped | None = None
        self._over = threading.Event()  # the process has ended, and what it had
        self._crash = self._loss = ""
        self._loss_is_untold = False
        self._deadline = float("inf")
        self._lock = threading.Lock()
        self._out = bytearray()  # what the socket did not take at once
        self._is_torn = False  # a signal came between parts of a message
        self._is_closed = False
        self._reports: list[tuple[str, bool]] = []
        self._watchdog = Watchdog(START_S, time.monotonic())
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - until there is a folder
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", PACKAGE, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._socket.setblocking(False)
        self._send(protocol.open_frame(config, cores_limit))
        threading.Thread(target=self._listen, name="daskjq-controller", daemon=True).start()

    # -- what the executor says ------------------------------------------------------------------------------------

    def pools(self) -> tuple[Pool, ...]:
        """The completed pools, once they are known. Raises ControllerError."""
        return self._pools.result()

    def begin(self, begin: Begin, folder: RunFolder) -> None:
        """Have the run begin; its folder is there."""
        self._folder = folder
        self._send(protocol.begin_frame(begin))

    def learn(self, outlook: Outlook) -> None:
        """What the workflow has before it; once, before the first jobs."""
        self._send(protocol.learn_frame(outlook))

    def dashboard(self) -> str:
        """The dashboard's address, or "", once the run has begun. Raises ControllerError."""
        return self._begun.result()

    def submit(self, jobs: Sequence[tuple[Request, JobSpec]]) -> None:
        """Hand over a batch of jobs; returns at once."""
        self._send(*protocol.job_frames(jobs))

    def unstarted(self, request: Request, why: str) -> None:
        """Note a job that fails before it could be submitted."""
        self._send(protocol.unstarted_frame(request, why))

    def withdraw(self) -> None:
        """Take back all jobs that have not begun; each is told as that."""
        self._send({"op": "withdraw"})

    def reported(self, key: str, *, success: bool) -> None:
        """Note that Snakemake hears of a job's end; it is sent with what is sent next, or by `flush`."""
        with self._lock:
            self._reports.append((key, success))

    def flush(self) -> None:
        if self._reports:
            self._send()

    def discard(self) -> None:
        """End a controller whose run has not begun: it has nothing yet."""
        self._stopped = protocol.Stopped(frozenset(), ())  # so nobody misses its last word
        self._process.kill()
        self._over.wait(EXIT_S)

    def stop(self, *, cancel: bool) -> Stopped:
        """End pilots and scheduler; with `cancel`, running jobs too. Returns when all are gone.

        That takes less than about `STOP_S + SWEEP_S`, whatever hangs.
        """
        self._deadline = time.monotonic() + STOP_S
        self._watchdog.hurry(min(self._lease_s, STOP_PATIENCE_S))
        self._send(protocol.stop_frame(cancel=cancel))
        with self._lock:
            if self._is_torn and not self._is_closed:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_WR)  # which says the same as a stop with `cancel`
            self._nudge()
        self._over.wait(STOP_S + SWEEP_S + 2 * EXIT_S)
        if self._stopped is None:
            return protocol.Stopped(self._waiting(), (self._loss,) if self._loss_is_untold else ())
        return self._stopped

    def _nudge(self) -> None:
        """Have the listening thread look at the clock and at what there is to send."""
        if not self._is_closed:
            os.eventfd_write(self._wake, 1)

    def _send(self, *frames: Frame) -> None:
        """Never waits: what the socket does not take, the listening thread sends."""
        with self._lock:
            if self._is_closed or self._is_torn:
                return
            data = b"".join(map(encode, frames))  # first: one that is too long must take nothing else with it
            reports, self._reports = self._reports, []
            if reports:
                data = encode(protocol.reported_frame(reports)) + data
            self._is_torn = True  # unless this comes to its end: Ctrl-C may strike at any place
            if not self._out:
                data = data[self._sent(data) :]
            if data:
                self._out += data
                self._nudge()
            self._is_torn = False

    def _sent(self, data: bytes | bytearray) -> int:
        """How much of it the socket takes."""
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError:  # it is dead; the listening thread finds that, too
            return len(data)

    # -- the listening thread --------------------------------------------------------------------------------------

    def _listen(self) -> None:
        try:
            why = self._serve()
            if self._stopped is None:
                self._bury(why)
            else:
                self._end_process()
        except BaseException as error:  # the run must hear of it
            self._hears.give_up(str(defect(error)))
            raise
        finally:
            self._fail("the controller has ended")
            with self._lock:
                self._is_closed = True
                self._socket.close()
                os.close(self._wake)
                self._log.close()
            self._over.set()

    def _serve(self) -> str:
        """Up to the end of the stream; returns why the controller has to be given up, or ""."""
        decoder = Decoder()
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        while True:
            poll.register(self._socket, select.POLLIN | (select.POLLOUT if self._out else 0))
            ready = dict(poll.poll(PING_S * 1000))
            if self._wake in ready:
                os.eventfd_read(self._wake)
            events = ready.get(self._socket.fileno(), 0)
            if events & select.POLLOUT:
                with self._lock:
                    del self._out[: self._sent(self._out)]
            if events & ~select.POLLOUT:
                try:
                    data = self._socket.recv(READ_BYTES)
                    if not data:
                        return ""
                    for frame in decoder.feed(data):
                        self._hear(frame)
                except BlockingIOError:
                    pass
                except OSError:  # reset: it has ended with something of ours unread
                    return ""
                except FrameError as error:
                    return f"sent what is no message ({error}), and was killed"
            now = time.monotonic()
            if now > self._deadline:
                return f"did not end in {STOP_S:.0f} s, and was killed"
            if self._is_torn:
                continue  # it can't be asked any more
            match self._watchdog.tick(now):
                case Verdict.PING:
                    self._send({"op": "ping"})
                case Verdict.HUNG:
                    return f"gave no answer for {self._watchdog.patience_s:.0f} s, and was killed"

    def _hear(self, frame: Frame) -> None:
        match frame["op"]:
            case "ends":
                self._hears.jobs_ended(protocol.read_ends(frame))
            case "pong":
                self._watchdog.answered()
            case "tell" | "warn" as level:
                self._hears.hear(level, frame["text"])
            case "give_up":
                self._hears.give_up(frame["text"])
            case "pools":
                self._pools.set_result(protocol.read_pools(frame))
            case "ready":
                self._watchdog.answered()  # it could not, while it imported
                self._watchdog.patience_s = min(self._watchdog.patience_s, self._lease_s)
            case "begun":
                self._begun.set_result(frame["text"])
            case "failed":
                self._fail(frame["text"])
            case "crashed":
                self._crash = frame["text"]
            case "stopped":
                self._stopped = protocol.read_stopped(frame)

    def _fail(self, text: str) -> None:
        """Tell whoever waits for the start that it has failed."""
        for waiting in (self._pools, self._begun):
            if not waiting.done():
                waiting.set_exception(ControllerError(text))

    # -- the end of the process ------------------------------------------------------------------------------------

    def _end_process(self) -> None:
        """It has said its last word."""
        try:
            self._process.wait(EXIT_S)
        except subprocess.TimeoutExpired:
            self._killed()

    def _killed(self) -> int:
        """Its status after it was killed, if it ran still; one that the kernel keeps is left to it."""
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(EXIT_S)
        return -signal.SIGKILL

    def _bury(self, why: str) -> None:
        """The controller has ended without a last word, or has to be killed: end what it had, and tell."""
        if not why:  # the stream has ended, so the process does
            try:
                self._process.wait(CLOSED_S)
            except subprocess.TimeoutExpired:
                why = "closed the connection, and was killed"
        status = self._killed()
        if not why:
            why = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"
        if self._crash:
            why = f"crashed ({self._crash})"
        words = f"The controller of the run {why}."
        if self._folder is not None:
            words += f" {self._swept(self._folder)}"
            with contextlib.suppress(OSError):
                journal.end_abandoned(self._folder.journal_path)
        self._loss = words + self._last_words()
        self._loss_is_untold = self._deadline < float("inf")  # a run that ends listens to no error
        self._fail(self._loss)
        self._hears.give_up(self._loss)

    def _swept(self, folder: RunFolder) -> str:
        """End what is left, in a process that can be given up; returns what to tell of that."""
        try:
            with folder.controller_log.open("ab") as log:
                done = subprocess.run(
                    [sys.executable, "-P", "-m", f"{PACKAGE}.sweep", str(folder.path), *self._scheduler],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    start_new_session=True,
                    timeout=SWEEP_S,
                )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"Pilots may be left ({error})."
        if done.returncode != 0:
            return f"Pilots may be left: {done.stdout.decode('utf-8', 'replace').strip() or 'see its log'}."
        return "Its jobs and pilots have been ended."

    def _last_words(self) -> str:
        """What the controller said last on its stderr, and where that is."""
        try:
            text = os.pread(self._log.fileno(), 2**20, 0).decode("utf-8", "replace")
            where = ""
            if self._folder is not None and self._folder.controller_log.exists():
                text = self._folder.controller_log.read_text(errors="replace") or text
                where = f" Its log: {self._folder.controller_log}"
        except OSError:
            return ""
        lines = printable(text).strip().splitlines()
        return (f" Its last words: {lines[-1][:WORDS]}." if lines else "") + where

    def _waiting(self) -> frozenset[str]:
        """The keys of jobs that were never placed on a pilot, as far as the journal tells."""
        waiting: set[str] = set()
        if self._folder is not None:
            with contextlib.suppress(OSError):
                for event in journal.read(self._folder.journal_path):
                    if event.get("event") == "job_submitted":
                        waiting.add(str(event["key"]))
                    elif event.get("event") == "job_placed":
                        waiting.discard(str(event["key"]))
        return frozenset(waiting)
