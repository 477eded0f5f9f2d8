"""The main of a controller, which serves the run that it was started for, and others where it is to be kept.

It is in a session of its own, so Ctrl-C at the terminal is Snakemake's affair. What must hold: when Snakemake has
ended, also by `kill -9`, its run is ended as at an interrupt, and then this process, unless it is to be kept; whatever
it does, it goes on answering pings. Its stderr is an unnamed file until there is a folder, then its `controller.log`.
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
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..config.settings import check_max_cores
from ..dask_cluster.spare import Spare
from ..errors import DaskjqError, defect
from ..frames import Frame, encode
from ..journal.journal import RunFolder
from . import protocol
from .connection import FLUSH_S, Connection
from .door import Door
from .surroundings import Surroundings, differences, versions_that_differ

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..config.settings import Config
    from ..model.claim import LeftJob
    from ..model.pool import Pool
    from .service import Service

Answer = TypeVar("Answer")

MOST_SHOWN = 5
"""So many differences are told at most."""


NOTHING = protocol.Stopped(frozenset(), ())
KEPT = protocol.Stopped(frozenset(), (), is_kept=True)


class Server:
    """A controller: what it has, and for how long.

    It serves the Snakemake that has started it. Where that wants pilots to be kept, others find it by a socket in the
    first run's folder, and it ends when nobody has come for so long.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._config: Config
        self._cores_limit: int | None = None
        self._surroundings: Surroundings
        self._pools: tuple[Pool, ...] = ()
        self._spare: Spare | None = None
        self._connections: dict[Connection, asyncio.Task[Any] | None] = {}
        self._last = 0  # number of a run
        self._door: Door | None = None
        self._keep_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._end: asyncio.Task[dict[int, protocol.Stopped]] | None = None
        self._is_due = asyncio.Event()  # that all ends
        self.service: Service | None = None

    async def serve(self) -> None:
        """Return when all runs are over and all of them has ended."""
        reader, writer = await asyncio.open_unix_connection(sock=self._sock)
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._unseen)
        loop.add_signal_handler(signal.SIGTERM, self._told_to_end)
        try:
            await self._serve(Connection(self, reader, writer), os.getppid())
            await self._is_due.wait()
        finally:
            await self._end_all(cancel=True)  # nothing is left, or this is a crash, and jobs may run
        if others := [task for task in self._connections.values() if task is not None]:
            await asyncio.wait(others, timeout=FLUSH_S)  # they hear of it

    async def _serve(self, connection: Connection, pid: int) -> None:
        self._connections[connection] = asyncio.current_task()
        try:
            await connection.serve(pid)
        finally:
            del self._connections[connection]
            if connection.number or self._door is None:  # who only asks changes nothing
                self._leave()

    # -- how long it is there ---------------------------------------------------------------------------------------

    def _stay(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _leave(self) -> None:
        """End when nobody has come for a while, or at once if nothing is to be kept."""
        self._stay()
        if any(one.number for one in self._connections) or self._is_due.is_set() or self._left():
            return
        if self._door is None:
            self._end_all(cancel=True)
        else:
            self._timer = asyncio.get_running_loop().call_later(self._keep_s, lambda: self._end_all(cancel=True))

    def _left(self) -> int:
        """How many jobs run whose Snakemakes have died."""
        return 0 if self.service is None else self.service.left.running()

    def left_jobs(self, base: str) -> dict[str, LeftJob]:
        """Those of a log folder whose Snakemakes have died."""
        return {} if self.service is None else self.service.left.jobs(base)

    def config_frame(self) -> Frame:
        """What it was started with."""
        return protocol.open_frame(self._config, self._cores_limit, self._surroundings.record(), "config")

    def status(self) -> protocol.Status:
        return protocol.Status([], []) if self.service is None else self.service.status()

    def leave_run(self, connection: Connection) -> bool:
        """Let the jobs of a run go on whose Snakemake has died; False where nothing is to be kept."""
        if self._door is None or self._is_due.is_set() or not connection.keep_s or not connection.has_begun:
            return False
        assert self.service is not None
        self._keep_s = connection.keep_s
        if connection.is_owner:  # its journal tells of pilots as long as there are some
            self.service.mute(connection.number)
        else:
            self.service.leave(connection.number)
        return True

    async def run_ends(self, connection: Connection, *, cancel: bool) -> protocol.Stopped:
        """End a run, and all where nothing is to be kept."""
        if self._door is not None and not connection.has_begun:
            return KEPT  # it has had nothing, and asks for nothing
        self._keep_s = max(connection.keep_s, self._keep_s if self._left() else 0.0)
        is_last = not (self._others(connection) or self._left())
        if connection.is_owner:
            self._tell_end("'daskjq start', which had started the controller, has ended it", connection)
        if self._door is None or connection.is_owner or (is_last and not connection.keep_s):
            self._end_all(cancel=cancel)
        if self._is_due.is_set():
            return await self._all_ended(connection)
        assert self.service is not None
        ending = asyncio.create_task(self.service.end(connection.number, cancel=cancel))
        due = asyncio.create_task(self._is_due.wait())
        await asyncio.wait([ending, due], return_when=asyncio.FIRST_COMPLETED)
        due.cancel()
        if not self._is_due.is_set():
            return replace(ending.result(), is_kept=True)
        ending.cancel()  # it can't come to its end any more
        return await self._all_ended(connection)

    def _others(self, connection: Connection) -> bool:
        return any(other.has_begun for other in self._connections if other is not connection)

    def insist(self, connection: Connection) -> None:
        """Snakemake, which ends its run, wants pilots to end, too; where others use them, they don't."""
        if not self._others(connection):
            self._end_all(cancel=True)

    async def shut_down(self) -> None:
        """End everything: `daskjq stop` says so."""
        self._tell_end("the controller and its pilots were ended by 'daskjq stop'")
        await asyncio.shield(self._end_all(cancel=True))

    def _tell_end(self, why: str, teller: Connection | None = None) -> None:
        """Runs can't go on."""
        for connection in self._connections:
            if connection.number and connection is not teller:
                connection.speaker.give_up(DaskjqError(why))

    def _end_all(self, *, cancel: bool) -> asyncio.Task[dict[int, protocol.Stopped]]:
        """Begin the end of all: there is one, whoever asks for it."""
        if self._end is None:
            self._end = asyncio.create_task(self._stop(cancel=cancel))
            self._is_due.set()
        return self._end

    async def _all_ended(self, connection: Connection) -> protocol.Stopped:
        return (await asyncio.shield(self._end_all(cancel=True))).get(connection.number, NOTHING)

    async def _stop(self, *, cancel: bool) -> dict[int, protocol.Stopped]:
        try:
            return {} if self.service is None else await self.service.stop(cancel=cancel)
        finally:
            if self._door is not None:
                await self._door.close()
            if self._spare is not None:
                await self._spare.discard()

    # -- what runs ask for ------------------------------------------------------------------------------------------

    def configure(self, message: Frame) -> None:
        """What it is to be, as the Snakemake that has started it says."""
        self._config, self._cores_limit = protocol.read_open(message)
        self._surroundings = Surroundings(**message["surroundings"])

    async def start_spare(self, begin: protocol.Begin) -> None:
        """Where this machine is all there is, its pilot imports Dask while this process does."""
        if self.service is None and self._config.local and len(self._config.pools) == 1:
            folder = RunFolder(begin.base, begin.name, Path(begin.cwd))
            with contextlib.suppress(OSError):  # the pilot itself will tell
                first = f"{self._config.pools[0].name}-1"
                self._spare = await Spare.start(first, folder, begin.cwd, begin.environment)

    async def open(self, connection: Connection) -> None:
        """Complete the pools; then import what a run needs, while Snakemake prepares its first jobs."""
        try:
            self._pools = await self._beside(_completed, self._config, self._cores_limit)
            check_max_cores(self._config.max_cores, self._pools)
        except (DaskjqError, OSError) as error:
            connection.speaker.send(protocol.text_frame("failed", str(error)))
            return
        self._admit(connection, self._config, "")
        await self._beside(importlib.import_module, f"{__package__}.service")
        connection.speaker.send({"op": "ready"})

    def attach(self, connection: Connection, message: Frame) -> None:
        """Admit a run to pilots that another has left, if it asks for the same."""
        if self._is_due.is_set():
            connection.speaker.send({"op": "ending"})
            return
        asked = Surroundings(**message["surroundings"])
        if not (found := versions_that_differ(self._surroundings, asked)):  # else it may speak in another way
            config, cores_limit = protocol.read_open(message)
            found = differences((self._config, self._cores_limit, self._surroundings), (config, cores_limit, asked))
        if found:
            told = protocol.text_frame("differs", ", ".join(found[:MOST_SHOWN]))
            connection.speaker.send(told | {"left": self._left()})
            return
        self._admit(connection, config, message["base"])
        connection.speaker.send({"op": "ready"})

    def _admit(self, connection: Connection, config: Config, base: str) -> None:
        self._stay()
        self._last += 1
        connection.number, connection.keep_s = self._last, config.keep_s
        connection.speaker.send(protocol.pools_frame(protocol.Admission(self._pools, self._last, self.left_jobs(base))))

    async def _beside(self, function: Callable[..., Answer], *arguments: Any) -> Answer:
        """Call what imports Dask; in another thread where that may be, for the run may begin meanwhile."""
        if self._config.local or self._config.scheduler is not None:
            return await asyncio.to_thread(function, *arguments)
        return function(*arguments)  # dask-jobqueue sets signal handlers when it is imported

    async def begin(self, connection: Connection, begin: protocol.Begin) -> None:
        """A run begins; the first one has the scheduler started."""
        folder = RunFolder(begin.base, begin.name, Path(begin.cwd))
        if self._is_due.is_set():
            words = "the pilots that an earlier run has left are just ending: run Snakemake again"
            connection.speaker.send(protocol.text_frame("failed", words))
            return
        try:
            if self.service is not None:
                self.service.begin(connection.number, begin, connection.speaker, connection.keep_s)
            else:
                self.service = self._new_service(folder, begin)
                self.service.begin(connection.number, begin, connection.speaker, connection.keep_s)
                await self.service.start()
                if connection.keep_s or begin.listens:
                    await self._open_door(folder, connection)
        except DaskjqError as error:
            connection.speaker.send(protocol.text_frame("failed", str(error)))
        except OSError as error:
            connection.speaker.send(protocol.text_frame("failed", folder.unwritable(error)))
        else:
            connection.has_begun, connection.is_owner = True, begin.listens
            self._keep_s = max(self._keep_s, connection.keep_s)
            connection.speaker.send(protocol.text_frame("begun", self.service.dashboard_link))

    def _new_service(self, folder: RunFolder, begin: protocol.Begin) -> Service:
        """Pilots start in the surroundings of the first run. Raises OSError."""
        from .service import Service

        os.environ.clear()
        os.environ.update(begin.environment)
        os.chdir(begin.cwd)
        _log_to(folder)
        return Service(self._config, self._pools, folder, self._spare, self._leave)

    async def _open_door(self, folder: RunFolder, connection: Connection) -> None:
        async def welcome(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pid: int) -> None:
            await self._serve(Connection(self, reader, writer), pid)

        try:
            self._door = await Door.open(folder.path.absolute(), welcome)
        except OSError as error:
            connection.speaker.warn(f"Pilots can't be kept (--daskjq-keep): no socket in {folder.shown}: {error}")

    # -- what goes wrong --------------------------------------------------------------------------------------------

    def _told_to_end(self) -> None:
        self._tell_end("the controller was told to end (SIGTERM)")
        if self._door is not None or not any(one.number for one in self._connections):
            self._end_all(cancel=True)

    def _unseen(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An exception that nobody caught: what our own callbacks raise would leave Snakemake waiting."""
        error = context.get("exception")
        if error is not None and not self._is_due.is_set() and _is_ours(error):
            traceback.print_exception(error)
            for connection in self._connections:
                connection.speaker.give_up(defect(error))
        else:  # Dask leaves some behind when connections break
            loop.default_exception_handler(context)


def _completed(config: Config, cores_limit: int | None) -> tuple[Pool, ...]:
    """The pools with all that is known of them. Raises SettingError, DiscoveryError or ClusterStartError."""
    if config.scheduler is not None:
        from ..dask_cluster import external

        return external.pools(config.scheduler)
    from ..dask_cluster.offers import complete

    return complete(config.pools, cores_limit)


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
        asyncio.run(Server(sock).serve())
    except BaseException as error:
        status = 1
        traceback.print_exception(error)
        with contextlib.suppress(OSError):
            last_words.settimeout(FLUSH_S)
            last_words.sendall(encode(protocol.text_frame("crashed", str(defect(error)))))
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    os._exit(status)  # all is ended; threads that Dask left must not keep Snakemake waiting
