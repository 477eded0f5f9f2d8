"""The controller's process, as Snakemake sees it: one of its own, or one that an earlier run has kept."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Protocol

from ..controller import names, protocol
from ..controller.door import RECORD, doors, knock, peer_of, remove, runs, silent
from ..controller.surroundings import Surroundings
from ..errors import ElsewhereError, LeftJobsError, NoControllerError, OtherControllerError, SilentControllerError
from ..frames import Decoder, Frame, FrameError, encode
from ..journal.journal import RunFolder
from ..text import printable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ..config.settings import Config
    from ..model.claim import LeftJob

PACKAGE = "snakemake_executor_daskjq.controller"

SWEEP_S = 100.0
"""So long it may take to end what a dead controller has left."""

EXIT_S = 10.0
CLOSED_S = 2.0
"""Between the end of the stream and that of the process, where that was killed or crashed."""

ANSWER_S = 10.0
"""So long a kept controller may take to say whether it takes a run."""

ENDING_S = 120.0
"""So long one may take to end that is just ending."""

READ_BYTES = 2**18
WORDS = 500
"""So much is shown of a dead controller's log."""


class Peer(Protocol):
    """A controller's process at the other end of `socket`; `heard` is what it has said before anyone listened."""

    socket: socket.socket
    heard: list[Frame]

    def bury(self, why: str, folder: RunFolder | None) -> str:
        """It has ended without a last word, or does not answer (`why`): end what it had. Returns what to tell."""

    def leave(self, *, is_kept: bool) -> None:
        """It has said its last word to this run; where it is not kept, it ends."""

    def discard(self) -> None:
        """This run has not begun: it leaves nothing."""


class Own:
    """A process that this run has started."""

    def __init__(self, config: Config, cores_limit: int | None) -> None:
        """Raises OSError."""
        self.heard: list[Frame] = []
        self._scheduler = (config.scheduler,) if config.scheduler else ()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - until there is a folder
        self.socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", PACKAGE, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self.socket.sendall(encode(protocol.open_frame(config, cores_limit)))

    def leave(self, *, is_kept: bool) -> None:
        """Where it is not kept, wait for its end."""
        if not is_kept:
            try:
                self._process.wait(EXIT_S)
            except subprocess.TimeoutExpired:
                self._killed()
        self._log.close()

    def discard(self) -> None:
        """Kill it."""
        self._process.kill()

    def bury(self, why: str, folder: RunFolder | None) -> str:
        """Kill it if it runs still, and end what it had."""
        if not why:  # the stream has ended, so the process does
            try:
                self._process.wait(CLOSED_S)
            except subprocess.TimeoutExpired:
                why = "closed the connection, and was killed"
        elif why.startswith(("gave", "did", "sent")):
            why = f"{why}, and was killed"
        status = self._killed()
        if not why:
            why = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"
        words = f"The controller of the run {why}."
        if folder is not None:
            words += f" {swept(folder, *self._scheduler)}"
        words += self._last_words(folder)
        self._log.close()
        return words

    def _killed(self) -> int:
        """Its status after it was killed, if it ran still; one that the kernel keeps is left to it."""
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(EXIT_S)
        return -signal.SIGKILL

    def _last_words(self, folder: RunFolder | None) -> str:
        """What the controller said last on its stderr, and where that is."""
        try:
            text = os.pread(self._log.fileno(), 2**20, 0).decode("utf-8", "replace")
            where = ""
            if folder is not None and folder.controller_log.exists():
                text = folder.controller_log.read_text(errors="replace") or text
                where = f" Its log: {folder.controller_log}"
        except OSError:
            return ""
        lines = printable(text).strip().splitlines()
        return (f" Its last words: {lines[-1][:WORDS]}." if lines else "") + where


class Kept:
    """One that an earlier run has left, and that has admitted this one."""

    def __init__(self, sock: socket.socket, folder: RunFolder, heard: list[Frame]) -> None:
        self.socket = sock
        self.heard = heard
        self._folder = folder
        self._pid = peer_of(sock).pid

    def leave(self, *, is_kept: bool) -> None:
        """It is nobody's child here, and ends by itself."""

    def discard(self) -> None:
        """It notices."""

    def bury(self, why: str, folder: RunFolder | None) -> str:
        """End what it had, unless it runs still: others may use it."""
        words = f"The controller that run {self._folder.name} has left {why or 'has ended'}."
        if not _has_ended(self._pid, CLOSED_S):
            return f"{words} Its process {self._pid} runs still: 'daskjq stop' ends it and its pilots."
        return f"{words} {swept(self._folder)} Its log: {self._folder.controller_log}"


def kept(config: Config, cores_limit: int | None, base: RunFolder, tell: Callable[[str], None]) -> Kept | None:
    """A controller in the log folder of `base` that was kept and has what this run asks for, if there is one.

    Raises LeftJobsError, ElsewhereError or SilentControllerError where jobs may run that this run could start again.
    """
    for path in doors(base.path.parent):
        folder = base.sibling(path.name)
        try:
            sock = knock(path)
        except OSError:
            _pass_by(folder, tell)
            continue
        pid = peer_of(sock).pid
        frames = _asked(sock, config, cores_limit, folder)
        if frames and frames[0]["op"] == "pools":
            return Kept(sock, folder, frames)
        sock.close()
        if frames and frames[0]["op"] == "differs":
            told = str(frames[0]["text"])
            if left := int(frames[0]["left"]):
                raise LeftJobsError(folder.name, left, told)
            tell(
                f"The pilots that run {folder.name} has left are not used, for this run asks for others ({told}). "
                "They end when their time is over; 'daskjq stop' ends them now."
            )
        else:  # its time is over, or it was told to end: what it has ends first
            tell(f"waiting for the end of the pilots that run {folder.name} has left.")
            if not _has_ended(pid, ENDING_S):
                raise SilentControllerError(folder.name, pid)
    return None


def config_of(name: str) -> tuple[Config, int | None]:
    """What the controller of a name was started with, and Snakemake's `--cores` then.

    Raises NoControllerError, SilentControllerError, or SettingError for what is no name.
    """
    host = ""
    for path in doors(names.folder_of(name) / "runs"):
        try:
            with knock(path) as sock:
                for frame in answer(sock, protocol.ASK_CONFIG):
                    return protocol.read_open(frame)
        except TimeoutError:
            record = silent(path)
            raise SilentControllerError(path.name, record.pid if record else 0) from None
        except (OSError, FrameError):
            record = silent(path)
            host = record.host if record and not record.is_here else host
    raise NoControllerError(name, names.names(), host)


def of_name(name: str, config: Config, cores_limit: int | None, folder: RunFolder) -> Kept:
    """The controller of a name, which has admitted this run.

    Raises NoControllerError, OtherControllerError, SilentControllerError; LeftJobsError where jobs of this run may run
    under another.
    """
    if running := [job for job in left_jobs(folder.path.parent).values() if not job.has_ended]:
        raise LeftJobsError(running[0].run, len(running), f"those of controller {name}")
    base = names.folder_of(name)
    for path in doors(base / "runs"):
        theirs = RunFolder(base, path.name)
        try:
            sock = knock(path)
        except OSError:
            continue
        frames = _asked(sock, config, cores_limit, theirs)
        if frames and frames[0]["op"] == "pools":
            return Kept(sock, theirs, frames)
        sock.close()
        if frames and frames[0]["op"] == "differs":
            raise OtherControllerError(name, str(frames[0]["text"]))
    raise NoControllerError(name, names.names())


def _pass_by(folder: RunFolder, tell: Callable[[str], None]) -> None:
    """A controller that can't be used: on another host, or dead, which must have left nothing that runs."""
    record = silent(folder.path)
    if record is None:
        tell(f"The controller that run {folder.name} has left has died. {swept(folder)}")
        remove(folder.path)
    elif record.is_here:
        raise SilentControllerError(folder.name, record.pid)
    elif record.left:
        raise ElsewhereError(folder.name, record.left, record.host, folder.path / RECORD)
    else:
        tell(f"The pilots that run {folder.name} has left are not used, for their controller is on {record.host}.")


def _has_ended(pid: int, patience_s: float) -> bool:
    until = time.monotonic() + patience_s
    while runs(pid):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def left_jobs(runs: Path) -> dict[str, LeftJob]:
    """Jobs that killed Snakemakes have left at the controllers of a folder of runs, by their outputs.

    Those of controllers that do not answer are not among them.
    """
    left: dict[str, LeftJob] = {}
    for path in doors(runs):
        with contextlib.suppress(OSError, FrameError), knock(path) as sock:
            for frame in answer(sock, protocol.ASK_LEFT):
                left.update(protocol.read_left(frame))
    return left


def _asked(sock: socket.socket, config: Config, cores_limit: int | None, folder: RunFolder) -> list[Frame]:
    """What a kept controller says to a run that asks to be admitted; nothing where it is ending.

    Raises SilentControllerError where it says nothing in time.
    """
    surroundings = Surroundings.of_this_process(os.environ)
    frame = protocol.open_frame(config, cores_limit, "attach") | {"surroundings": surroundings.record()}
    try:
        return answer(sock, frame)
    except (TimeoutError, FrameError):
        pid = peer_of(sock).pid
        sock.close()
        raise SilentControllerError(folder.name, pid) from None
    except OSError:
        return []


def answer(sock: socket.socket, frame: Frame) -> list[Frame]:
    """What is said first after a frame; nothing at the end of the stream. Raises OSError or FrameError."""
    decoder = Decoder()
    frames: list[Frame] = []
    sock.settimeout(ANSWER_S)
    sock.sendall(encode(frame))
    while not frames and (data := sock.recv(READ_BYTES)):
        frames += decoder.feed(data)
    sock.setblocking(False)
    return frames


def swept(folder: RunFolder, *scheduler: str) -> str:
    """End what a dead controller has left, in a process that can be given up; returns what to tell of that."""
    try:
        with folder.controller_log.open("ab") as log:
            done = subprocess.run(
                [sys.executable, "-P", "-m", f"{PACKAGE}.sweep", str(folder.path), *scheduler],
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
