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
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..controller import names, protocol
from ..controller.door import doors, knock, peer_of, remove, runs, silent
from ..controller.leftover import Leftover, leftovers
from ..controller.surroundings import Surroundings
from ..errors import DaskjqError, LeftJobsError, NoControllerError, OtherControllerError, SilentControllerError
from ..frames import Decoder, Frame, FrameError, encode
from ..journal.journal import RunFolder
from ..text import printable
from .environment import AT_START

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

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
    """A controller's process at the other end of `socket`; `heard` is what it has said before anyone listened.

    `may_be_shared` says whether other runs may use it, `runs_on` whether it was left alone when it was lost.
    """

    socket: socket.socket
    heard: list[Frame]
    may_be_shared: bool
    runs_on: bool

    def bury(self, why: str, folder: RunFolder | None) -> str:
        """It has ended without a last word, or does not answer (`why`): end what it had. Returns what to tell."""

    def leave(self, *, is_kept: bool) -> None:
        """It has said its last word to this run; where it is not kept, it ends."""

    def discard(self) -> None:
        """This run has not begun: it leaves nothing."""


class Own:
    """A process that this run has started."""

    def __init__(self, config: Config, cores_limit: int | None, *, for_others: bool = False) -> None:
        """Raises OSError."""
        self.heard: list[Frame] = []
        self.may_be_shared = for_others or bool(config.keep_s)
        self.runs_on = False
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
        self.socket.sendall(encode(protocol.open_frame(config, cores_limit, surroundings())))

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
        """Kill it if it runs still, unless others may use it, and end what it had."""
        if why and self.may_be_shared and folder is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(CLOSED_S)
            if self._process.poll() is None:
                self.runs_on = True
                words = (
                    f"The controller of the run {why}. Its process {self._process.pid} runs still: others may use it."
                )
                return f"{words} '{names.stop_command(folder.path)}' ends it and its pilots."
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

    may_be_shared = True
    runs_on = False

    def __init__(self, sock: socket.socket, folder: RunFolder, heard: list[Frame]) -> None:
        self.socket = sock
        self.heard = heard
        self.folder = folder
        self._pid = peer_of(sock).pid

    def leave(self, *, is_kept: bool) -> None:
        """It is nobody's child here, and ends by itself."""

    def discard(self) -> None:
        """It notices."""

    def bury(self, why: str, folder: RunFolder | None) -> str:
        """End what it had, unless it runs still: others may use it."""
        words = f"The controller of run {self.folder.name} {why or 'has ended'}."
        if not _has_ended(self._pid, CLOSED_S):
            self.runs_on = True
            stop = names.stop_command(self.folder.path)
            return f"{words} Its process {self._pid} runs still: '{stop}' ends it and its pilots."
        return f"{words} {swept(self.folder)} Its log: {self.folder.controller_log}"


def kept(config: Config, cores_limit: int | None, base: RunFolder, tell: Callable[[str], None]) -> Kept | None:
    """A controller in the log folder of `base` that was kept and has what this run asks for, if there is one.

    Where several have, one with jobs that were left goes first. Raises LeftJobsError or SilentControllerError where
    jobs may run that this run could start again.
    """
    runs = base.path.parent
    reasons: dict[str, str] = {}  # why controllers can't be had, by their folders
    admitted: list[Kept] = []
    for path in doors(runs):
        folder = base.sibling(path.name)
        try:
            sock = knock(path)
        except OSError:
            if (host := pass_by(folder, tell)) is not None:
                reasons[_real(path)] = f"their controller is on {host}: start it there"
                tell(f"The pilots that run {folder.name} has left are not used, for their controller is on {host}.")
            continue
        pid = peer_of(sock).pid
        frames = _asked(sock, path, config, cores_limit, base)
        match frames[0]["op"] if frames else "ending":
            case "pools":
                admitted.append(Kept(sock, folder, frames))
                continue
            case "give_up":
                raise DaskjqError(str(frames[0]["text"]))
            case "differs":
                told, jobs = str(frames[0]["text"]), int(frames[0]["left"])
                same = "start it with the same options, variables and versions as that one"
                reasons[_real(path)] = f"it asks for other pilots ({told}): {same}"
                if jobs:
                    raise LeftJobsError(folder.name, jobs, reasons[_real(path)], "daskjq stop")
                tell(
                    f"The pilots that run {folder.name} has left are not used, for this run asks for others ({told}). "
                    "They end when their time is over; 'daskjq stop' ends them now."
                )
            case _:  # its time is over, or it was told to end: what it has ends first
                tell(f"waiting for the end of the pilots that run {folder.name} has left.")
                if not _has_ended(pid, ENDING_S):
                    raise _does_not_answer(path)
        sock.close()
    left = leftovers(runs)
    with_jobs = [one for one in admitted if any(_is_of(job, one) for job in left)]
    best = next(iter([*with_jobs, *admitted]), None)
    for other in admitted:
        if other is not best:
            other.socket.close()
    _check_left(left, best, reasons)
    return best


def _check_left(left: Iterable[Leftover], chosen: Kept | None, reasons: Mapping[str, str]) -> None:
    """Raises LeftJobsError where jobs go on under another controller than the one that was chosen."""
    for one in left:
        if chosen is not None and _is_of(one, chosen):
            continue
        if chosen is not None:
            chosen.socket.close()
        folder = Path(one.controller)
        stop = names.stop_command(folder)
        name = stop.removeprefix("daskjq stop").strip()
        reason = f"they are controller {name}'s: use it (--daskjq-controller {name})" if name else ""
        reason = reasons.get(_real(folder)) or reason or f"their controller has its folder in {folder}"
        if one.host != socket.gethostname():
            reason += f", on {one.host} (if that is down, remove {one.file})"
        raise LeftJobsError(one.run, one.jobs, reason, stop)


def _is_of(left: Leftover, controller: Kept) -> bool:
    return _real(Path(left.controller)) == _real(controller.folder.path)


def _real(path: Path) -> str:
    return os.path.realpath(path)


def config_of(name: str) -> tuple[Config, int | None]:
    """What the controller of a name was started with, and Snakemake's `--cores` then.

    Raises NoControllerError, OtherControllerError, SilentControllerError, or SettingError for what is no name.
    """
    host = ""
    for path in doors(names.folder_of(name) / "runs"):
        try:
            with knock(path) as sock:
                for frame in answer(sock, protocol.ASK_CONFIG):
                    return protocol.read_open(frame)
        except TimeoutError:
            raise _does_not_answer(path) from None
        except (OSError, FrameError):
            record = silent(path)
            host = record.host if record and not record.is_here else host
        except (TypeError, KeyError, ValueError):
            raise OtherControllerError(name, "another version of daskjq") from None
    raise NoControllerError(name, names.names(), host)


def of_name(name: str, config: Config, cores_limit: int | None, folder: RunFolder) -> Kept:
    """The controller of a name, which has admitted this run.

    Raises NoControllerError, OtherControllerError, SilentControllerError; LeftJobsError where jobs of this run may run
    under another.
    """
    base = names.folder_of(name)
    for path in doors(base / "runs"):
        theirs = RunFolder(base, path.name)
        try:
            sock = knock(path)
        except OSError:
            continue
        frames = _asked(sock, path, config, cores_limit, folder)
        if frames and frames[0]["op"] == "pools":
            chosen = Kept(sock, theirs, frames)
            _check_left(leftovers(folder.path.parent), chosen, {})
            return chosen
        sock.close()
        if frames and frames[0]["op"] == "differs":
            raise OtherControllerError(name, str(frames[0]["text"]))
    raise NoControllerError(name, names.names())


def pass_by(folder: RunFolder, tell: Callable[[str], None]) -> str | None:
    """A controller in whose folder nobody answers: end what a dead one has left, or tell on which other host it is.

    Raises SilentControllerError for one that is here.
    """
    record = silent(folder.path)
    if record is None:
        tell(f"The controller that run {folder.name} has left has died. {swept(folder)}")
        remove(folder.path)
        return None
    if record.is_here:
        raise _does_not_answer(folder.path)
    return record.host


def _does_not_answer(path: Path) -> DaskjqError:
    record = silent(path)
    if record is None:  # it has just died
        return DaskjqError(f"The controller of run {path.name} has died: run Snakemake again.")
    return SilentControllerError(path.name, record.host, record.pid, names.stop_command(path))


def _has_ended(pid: int, patience_s: float) -> bool:
    until = time.monotonic() + patience_s
    while runs(pid):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def left_jobs(controllers: Path, base: Path) -> dict[str, LeftJob]:
    """Jobs that killed Snakemakes of runs in a log folder have left, by their outputs.

    Asked are the controllers in a folder of runs; those that do not answer know of none.
    """
    left: dict[str, LeftJob] = {}
    for path in doors(controllers):
        with contextlib.suppress(OSError, FrameError, TypeError, KeyError), knock(path) as sock:
            for frame in answer(sock, protocol.ask_left_frame(str(base))):
                left.update(protocol.read_left(frame))
    return left


def _asked(sock: socket.socket, path: Path, config: Config, cores_limit: int | None, folder: RunFolder) -> list[Frame]:
    """What the controller in `path` says to a run with this folder that asks for admission; nothing where it is ending.

    Raises SilentControllerError where it says nothing in time.
    """
    base = folder.path.parent.parent.absolute()
    frame = protocol.attach_frame(config, cores_limit, surroundings(), str(base))
    try:
        return answer(sock, frame)
    except (TimeoutError, FrameError):
        sock.close()
        raise _does_not_answer(path) from None
    except OSError:
        return []


def surroundings() -> dict[str, Any]:
    """Those of this process as it has started: what a Snakefile sets is the jobs' affair."""
    return Surroundings.of_this_process(AT_START).record()


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
