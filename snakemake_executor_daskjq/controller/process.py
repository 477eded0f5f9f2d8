"""The main of a controller, which serves one run over a socket pair that it was started with.

It is in a session of its own, so Ctrl-C at the terminal is Snakemake's affair. What must hold: when Snakemake has
ended, also by `kill -9`, all is ended as at an interrupt, and then this process; whatever it does, it goes on answering
pings. Its stderr is an unnamed file until the run has a folder, and `controller.log` there after that.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import importlib
import os
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..dask_cluster.spare import Spare
from ..errors import DaskjqError, defect
from ..frames import Decoder, Frame, encode
from ..journal.journal import RunFolder
from . import protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..config.settings import Config
    from ..model.outcome import Outcome
    from ..model.pool import Pool
    from ..model.request import Request
    from .run import Run

Answer = TypeVar("Answer")

READ_BYTES = 2**18

LOOK_S = 2.0
"""How often it is looked whether Snakemake is there, where the kernel can't tell."""

MOST_ENDS = 500
"""So many ends at most go into one message, for each may bring the last lines of a log."""

GATHER_S = 0.01
"""After ends have been told, further ones are gathered for so long: each message wakes Snakemake's process."""

FLUSH_S = 5.0
"""So long the last words wait for a Snakemake that does not listen."""


class Speaker:
    """What Snakemake hears (a `driver.Reporter`). Never waits for it."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._ends: list[protocol.Ended] = []
        self._ends_from = 0.0  # in the loop's time: when the next ends may be sent

    def job_ended(self, request: Request, outcome: Outcome, pilot: str) -> None:
        if not self._ends:  # what ends within one turn of the loop, or soon after others, is one message
            loop = asyncio.get_running_loop()
            loop.call_at(max(self._ends_from, loop.time()), self._send_ends)
        self._ends.append(protocol.Ended(request.key, pilot, outcome))

    def tell(self, text: str) -> None:
        self.send(protocol.text_frame("tell", text))

    def warn(self, text: str) -> None:
        self.send(protocol.text_frame("warn", text))

    def give_up(self, error: DaskjqError) -> None:
        self.send(protocol.text_frame("give_up", str(error)))

    def send(self, frame: Frame) -> None:
        self._send_ends()
        self._writer.write(encode(frame))

    def _send_ends(self) -> None:
        while self._ends:
            ends, self._ends = self._ends[:MOST_ENDS], self._ends[MOST_ENDS:]
            self._writer.write(encode(protocol.ends_frame(ends)))
            self._ends_from = asyncio.get_running_loop().time() + GATHER_S

    async def close(self) -> None:
        """Send what is left."""
        self._writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            await asyncio.wait_for(self._writer.wait_closed(), FLUSH_S)


class Controller:
    """Serves one run: messages in, messages out."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._config: Config
        self._cores_limit: int | None = None
        self._pools: tuple[Pool, ...] = ()
        self._run: Run | None = None
        self._spare: Spare | None = None
        self._messages: asyncio.Queue[Frame] = asyncio.Queue()
        self._is_stopping = False

    async def serve(self) -> None:
        """Return when the run is over and all of it has ended."""
        reader, writer = await asyncio.open_unix_connection(sock=self._sock)
        self._speaker = Speaker(writer)
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._unseen)
        loop.add_signal_handler(signal.SIGTERM, self._told_to_end)
        _when_parent_ends(writer.transport.abort)
        listening = asyncio.create_task(self._listen(reader))
        try:
            stopped = await self._stop(cancel=await self._serve_until_stop())
            listening.cancel()
        except BaseException:
            if not self._is_stopping:
                await self._stop(cancel=True)  # a crash: jobs may run
            raise
        self._speaker.send(protocol.stopped_frame(stopped))
        await self._speaker.close()

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        """Answer pings at once, whatever else takes its time, up to the end of the stream: Snakemake is gone."""
        decoder = Decoder()
        try:
            while data := await reader.read(READ_BYTES):
                for frame in decoder.feed(data):
                    match frame["op"]:
                        case "ping":
                            self._speaker.send({"op": "pong"})
                            continue
                        case "open":
                            self._config, self._cores_limit = protocol.read_open(frame)
                        case "begin":
                            await self._start_spare(protocol.read_begin(frame))
                    self._messages.put_nowait(frame)
        except ConnectionError:
            pass
        except Exception:  # whatever it is: nobody hears of Snakemake's end any more
            traceback.print_exc()
        finally:
            self._messages.put_nowait(protocol.stop_frame(cancel=True))

    async def _start_spare(self, begin: protocol.Begin) -> None:
        """Where this machine is all there is, its pilot imports Dask while this process does."""
        if self._config.local and len(self._config.pools) == 1:
            folder = RunFolder(begin.base, begin.name, Path(begin.cwd))
            with contextlib.suppress(OSError):  # the pilot itself will tell
                first = f"{self._config.pools[0].name}-1"
                self._spare = await Spare.start(first, folder, begin.cwd, begin.environment)

    async def _serve_until_stop(self) -> bool:
        """Returns whether running jobs have to be ended."""
        while (message := await self._messages.get())["op"] != "stop":
            await self._handle(message)
        return bool(message["cancel"])

    async def _stop(self, *, cancel: bool) -> protocol.Stopped:
        self._is_stopping = True
        try:
            if self._run is None:
                return protocol.Stopped(frozenset(), ())
            return await self._run.stop(cancel=cancel)
        finally:
            if self._spare is not None:
                await self._spare.discard()

    async def _handle(self, message: Frame) -> None:
        match message["op"]:
            case "jobs" if self._run:
                self._run.submit(protocol.read_jobs(message))
            case "reported" if self._run:
                self._run.reported(protocol.read_reported(message))
            case "withdraw" if self._run:
                self._run.withdraw()
            case "unstarted" if self._run:
                self._run.unstarted(*protocol.read_unstarted(message))
            case "open":
                await self._open()
            case "learn" if self._run:
                self._run.learn(protocol.read_learn(message))
            case "begin" if self._pools:  # else it has failed already
                await self._begin(protocol.read_begin(message))

    async def _open(self) -> None:
        """Complete the pools; then import what a run needs, while Snakemake prepares its first jobs."""
        try:
            self._pools = await self._beside(_completed, self._config, self._cores_limit)
        except (DaskjqError, OSError) as error:
            self._speaker.send(protocol.text_frame("failed", str(error)))
            return
        self._speaker.send(protocol.pools_frame(self._pools))
        await self._beside(importlib.import_module, f"{__package__}.run")
        self._speaker.send({"op": "ready"})

    async def _beside(self, function: Callable[..., Answer], *arguments: Any) -> Answer:
        """Call what imports Dask; in another thread where that may be, for the run may begin meanwhile."""
        if self._config.local or self._config.scheduler is not None:
            return await asyncio.to_thread(function, *arguments)
        return function(*arguments)  # dask-jobqueue sets signal handlers when it is imported

    async def _begin(self, begin: protocol.Begin) -> None:
        from .run import Run

        folder = RunFolder(begin.base, begin.name, Path(begin.cwd))
        os.environ.clear()
        os.environ.update(begin.environment)
        try:
            os.chdir(begin.cwd)
            _log_to(folder)
            self._run = Run(self._config, self._pools, begin, self._speaker, self._spare)
            dashboard = await self._run.start()
        except DaskjqError as error:
            self._speaker.send(protocol.text_frame("failed", str(error)))
        except OSError as error:
            self._speaker.send(protocol.text_frame("failed", folder.unwritable(error)))
        else:
            self._speaker.send(protocol.text_frame("begun", dashboard))

    def _told_to_end(self) -> None:
        self._speaker.give_up(DaskjqError("the controller was told to end (SIGTERM)"))

    def _unseen(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An exception that nobody caught: what our own callbacks raise would leave Snakemake waiting."""
        error = context.get("exception")
        if error is not None and not self._is_stopping and _is_ours(error):
            traceback.print_exception(error)
            self._speaker.give_up(defect(error))
        else:  # Dask leaves some behind when connections break
            loop.default_exception_handler(context)


def _completed(config: Config, cores_limit: int | None) -> tuple[Pool, ...]:
    """The pools with all that is known of them. Raises SettingError, DiscoveryError or ClusterStartError."""
    if config.scheduler is not None:
        from ..dask_cluster import external

        return external.pools(config.scheduler)
    from ..dask_cluster.offers import complete

    return complete(config.pools, cores_limit)


def _when_parent_ends(call: Any) -> None:
    """A fork of Snakemake may hold its end of the socket open when Snakemake itself is gone."""
    loop, parent = asyncio.get_running_loop(), os.getppid()
    try:
        watched = os.pidfd_open(parent)
    except (AttributeError, OSError):  # a Python that was built without it, or an old kernel

        def look() -> None:
            if os.getppid() == parent:
                loop.call_later(LOOK_S, look)
            else:
                call()

        look()
        return

    def ended() -> None:
        loop.remove_reader(watched)
        call()

    loop.add_reader(watched, ended)


def _log_to(folder: RunFolder) -> None:
    """Have stdout and stderr, and what was said so far, in the run's folder."""
    log = os.open(folder.controller_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with contextlib.suppress(OSError):  # stderr may be no file
        os.write(log, os.pread(2, 2**20, 0))
    for fd in (1, 2):
        os.dup2(log, fd)
    os.close(log)


def _is_ours(error: BaseException) -> bool:
    """True if it came through code of this package."""
    package = __name__.partition(".")[0]
    return any(
        frame.f_globals.get("__name__", "").startswith(package) for frame, _ in traceback.walk_tb(error.__traceback__)
    )


def _leave_to_snakemake(*signums: signal.Signals) -> None:
    """Pilots must not inherit that a signal is ignored, but where Snakemake was started so."""
    for signum in signums:
        if signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, lambda *_: None)


def main() -> None:
    faulthandler.enable()
    fd = int(sys.argv[1])
    os.set_inheritable(fd, False)  # Snakemake must see the end of the stream, whatever pilots go on
    sock = socket.socket(fileno=fd)
    last_words = sock.dup()
    _leave_to_snakemake(signal.SIGINT, signal.SIGHUP)
    status = 0
    try:
        asyncio.run(Controller(sock).serve())
    except BaseException as error:
        status = 1
        traceback.print_exception(error)
        with contextlib.suppress(OSError):
            last_words.settimeout(FLUSH_S)
            last_words.sendall(encode(protocol.text_frame("crashed", str(defect(error)))))
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    os._exit(status)  # all is ended; threads that Dask left must not keep Snakemake waiting
