"""Snakemake's end of the controller: hands it jobs, hears of their ends, and buries it (`peers`) when it has died.

What must hold: no call waits longer for the controller than its watchdog does; when it has died or hangs, it is killed,
what it has left is ended by a process of its own (`controller.sweep`), and the run hears of that as of an error.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from concurrent import futures
from typing import TYPE_CHECKING, Protocol

from ..controller import protocol
from ..errors import ControllerError, defect
from ..frames import Decoder, Frame, FrameError, encode
from ..journal import journal
from .peers import SWEEP_S, Kept
from .watchdog import PING_S, Verdict, Watchdog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..controller.protocol import Admission, Begin, Ended, Job, Stopped
    from ..journal.journal import RunFolder
    from ..model.pool import Pool
    from ..model.request import Outlook, Request
    from .peers import Peer

START_S = 300.0
"""Importing Dask from a cold network file system may take minutes; the controller answers no pings meanwhile."""

STOP_PATIENCE_S = 8.0
"""The same as the lease where the run is to end: somebody waits for that."""

STOP_S = 120.0
"""A controller that has not ended everything by then is killed: running jobs have ended long before."""

EXIT_S = 10.0

READ_BYTES = 2**18


class Hears(Protocol):
    """Who hears what the controller says. Called in a thread of its own; must not block."""

    def jobs_ended(self, ends: list[Ended]) -> None: ...

    def hear(self, level: str, text: str) -> None:
        """A line for the user: `tell` or `warn`."""

    def give_up(self, text: str) -> None: ...


class Controller:
    """A controller. `submit`, `unstarted`, `reported`, `flush` and `stop` may be used from any thread."""

    def __init__(self, peer: Peer, lease_s: float, hears: Hears) -> None:
        self._hears = hears
        self._lease_s = lease_s
        self._folder: RunFolder | None = None
        self._admitted: futures.Future[Admission] = futures.Future()
        self._begun: futures.Future[str] = futures.Future()
        self._stopped: Stopped | None = None
        self._over = threading.Event()  # the run has nothing any more, nor the process if it is not kept
        self._crash = self._loss = ""
        self._loss_is_untold = False
        self._deadline = float("inf")
        self._lock = threading.Lock()
        self._out = bytearray()  # what the socket did not take at once
        self._is_torn = False  # a signal came between parts of a message
        self._is_closed = False
        self._insists = False
        self._reports: list[tuple[str, bool]] = []
        self._watchdog = Watchdog(START_S, time.monotonic())
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._peer = peer
        self._socket = peer.socket
        self._socket.setblocking(False)
        threading.Thread(target=self._listen, name="daskjq-controller", daemon=True).start()

    @property
    def is_shared(self) -> bool:
        """Whether an earlier run has left it."""
        return isinstance(self._peer, Kept)

    # -- what the executor says ------------------------------------------------------------------------------------

    def pools(self) -> tuple[Pool, ...]:
        """The completed pools, once they are known. Raises ControllerError."""
        return self.admission().pools

    def admission(self) -> Admission:
        """What the run is admitted to, once it is. Raises ControllerError."""
        return self._admitted.result()

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

    def submit(self, jobs: Sequence[Job]) -> None:
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
        self._peer.discard()
        with self._lock:
            if not self._is_closed:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)
        self._over.wait(EXIT_S)

    def stop(self, *, cancel: bool) -> Stopped:
        """End the run, and pilots and scheduler unless they are kept; with `cancel`, running jobs too.

        Returns when all are gone. That takes less than about `STOP_S + SWEEP_S`, whatever hangs.
        """
        self._deadline = time.monotonic() + STOP_S
        if not self._peer.may_be_shared:
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

    @property
    def runs_on(self) -> bool:
        """Whether it was lost, and its process, which others may use, runs still; and maybe this run's jobs."""
        return bool(self._loss) and self._peer.runs_on

    @property
    def loss(self) -> str:
        """How the controller was lost, or "" where it has ended as it should."""
        return self._loss

    def insist(self) -> None:
        """While it stops: let pilots end, too, that were to be kept. For a signal's handler: it takes no lock."""
        self._insists = True
        self._nudge()

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
                self._peer.leave(is_kept=self._stopped.is_kept)
        except BaseException as error:  # the run must hear of it
            self._hears.give_up(str(defect(error)))
            raise
        finally:
            self._fail("the controller has ended")
            with self._lock:
                self._is_closed = True
                self._socket.close()
                os.close(self._wake)
            self._over.set()

    def _serve(self) -> str:
        """Up to the end of the stream; returns why the controller has to be given up, or ""."""
        decoder = Decoder()
        for frame in self._peer.heard:
            self._hear(frame)
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        while True:
            poll.register(self._socket, select.POLLIN | (select.POLLOUT if self._out else 0))
            ready = dict(poll.poll(PING_S * 1000))
            if self._wake in ready:
                os.eventfd_read(self._wake)
                if self._insists:
                    self._insists = False
                    self._send({"op": "end_all"})
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
                    if self._stopped is not None and self._stopped.is_kept:
                        return ""
                except BlockingIOError:
                    pass
                except OSError:  # reset: it has ended with something of ours unread
                    return ""
                except FrameError as error:
                    return f"sent what is no message ({error})"
            now = time.monotonic()
            if now > self._deadline:
                return f"did not end in {STOP_S:.0f} s"
            if self._is_torn:
                continue  # it can't be asked any more
            match self._watchdog.tick(now):
                case Verdict.PING:
                    self._send({"op": "ping"})
                case Verdict.HUNG:
                    return f"gave no answer for {self._watchdog.patience_s:.0f} s"

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
                self._fail(frame["text"])
            case "pools":
                self._admitted.set_result(protocol.read_pools(frame))
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
        for waiting in (self._admitted, self._begun):
            if not waiting.done():
                waiting.set_exception(ControllerError(text))

    # -- its end ---------------------------------------------------------------------------------------------------

    def _bury(self, why: str) -> None:
        """The controller has ended without a last word, or has to be given up: end what it had, and tell."""
        words = self._peer.bury(f"crashed ({self._crash})" if self._crash else why, self._folder)
        if self._folder is not None and not self._peer.runs_on:
            with contextlib.suppress(OSError):
                journal.end_abandoned(self._folder.journal_path)
        self._loss = words
        self._loss_is_untold = self._deadline < float("inf")  # a run that ends listens to no error
        self._fail(self._loss)
        self._hears.give_up(self._loss)

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
