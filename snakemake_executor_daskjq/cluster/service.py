"""The cluster of a run in a thread of its own: the door between Snakemake's threads and the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
import traceback
from concurrent import futures
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from ..controller.driver import Driver
from ..errors import DaskjqError
from ..history import History
from ..journal import SCHEMA, Journal
from ..model import events
from ..policy.summary import Summary
from . import guest
from .fleet import Fleet
from .guest import Guest
from .offers import complete

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..controller.driver import Reporter
    from ..journal import RunFolder
    from ..model.pool import Pool
    from ..model.request import Launch, Outlook, Request
    from ..settings import Config
    from .guest import GuestListener

CANCEL_GRACE_S = 5.0
"""Between TERM and KILL for running jobs when the run is cancelled."""


class ClusterService:
    """Starts the scheduler, dispatches jobs, and ends everything.

    `submit`, `stop` and `journal` may be used from any thread.
    """

    def __init__(self, config: Config, folder: RunFolder, reporter: Reporter, cores_limit: int | None) -> None:
        self._config = config
        self._folder = folder
        self._reporter = reporter
        self.pools: tuple[Pool, ...] = (
            guest.pools(config.scheduler) if config.scheduler else complete(config.pools, cores_limit)
        )
        self.summary = Summary()
        self.begun: frozenset[str] = frozenset()
        """Once all has stopped: the keys of jobs that were placed on a pilot and had not ended."""
        self.dashboard_link: str | None = None
        self.journal = Journal(folder.journal_path, reporter.warn)
        self._started: futures.Future[None] = futures.Future()
        self._grace_s: float | None = None
        self._thread = threading.Thread(target=self._run, name="daskjq", daemon=True)

    def start(self) -> None:
        """Start the thread and the Dask scheduler. Raises ClusterStartError or OSError."""
        pools = {pool.name: dataclasses.asdict(pool) for pool in self.pools}
        self.journal.write(
            events.RunStarted(schema=SCHEMA, version=version("snakemake-executor-plugin-daskjq"), pools=pools)
        )
        self._thread.start()
        self._started.result()

    def learn(self, outlook: Outlook) -> None:
        """What the workflow has before it; once, before the first jobs."""
        self._call(lambda: self._dispatcher.learn(outlook))

    def submit(self, jobs: Sequence[tuple[Request, Launch]]) -> None:
        """Hand over a batch of jobs; returns at once."""
        self._call(lambda: self._dispatcher.submit(jobs))

    def unstarted(self, request: Request, why: str) -> None:
        """Note a job that fails before it could be submitted."""
        self._call(lambda: self._dispatcher.unstarted(request, why))

    def reported(self, key: str, *, success: bool) -> None:
        """Note that Snakemake hears of a job's end now."""
        self.journal.write(events.JobReported(key=key, success=success))
        self.summary.job_ended(success=success)

    def stop(self, *, cancel: bool) -> None:
        """End pilots, scheduler and thread; with `cancel`, running jobs too. Returns when all are gone."""
        self._grace_s = CANCEL_GRACE_S if cancel else None
        if self._thread.ident is not None:
            futures.wait([self._started])  # it may have been interrupted while it started
            with contextlib.suppress(RuntimeError):  # or have failed, and its loop is closed
                self._call(self._stop.set)
            self._thread.join()
        self.journal.write(events.RunEnded(cancelled=cancel))
        self.journal.close()

    def _call(self, function: Callable[[], object]) -> None:
        self._loop.call_soon_threadsafe(function)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            if not self._started.done():
                self._started.set_exception(error)
            else:  # everything is ended; Snakemake must not wait for this thread
                self._tell_defect(error)

    def _tell_defect(self, error: BaseException) -> None:
        self._reporter.give_up(DaskjqError(f"internal error: {type(error).__name__}: {str(error)[:300]}"))

    def _unseen(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An exception that nobody caught: what our own callbacks raise would leave Snakemake waiting."""
        error = context.get("exception")
        if error is not None and not self._stop.is_set() and _is_ours(error):
            self._tell_defect(error)
        else:  # Dask leaves some behind when connections break
            loop.default_exception_handler(context)

    def _open_fleet(self, listener: GuestListener) -> Fleet | Guest:
        if self._config.scheduler is not None:
            return Guest(self._config.scheduler, self._config.lease_s, self._folder, listener)
        return Fleet(self._config, self._folder, listener)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._loop.set_exception_handler(self._unseen)
        self._dispatcher = Driver(
            self.pools,
            self._open_fleet,
            self._reporter,
            self.journal,
            self._folder,
            self.summary,
            History(self._folder.history_path),
        )
        fleet = self._dispatcher.fleet
        try:
            await fleet.start()
            self.dashboard_link = fleet.dashboard_link
            self._started.set_result(None)
            await self._stop.wait()
        except BaseException:
            self._grace_s = CANCEL_GRACE_S  # a crash: jobs may run
            raise
        finally:
            await self._dispatcher.close()
            self.begun = frozenset(self._dispatcher.begun)
            await fleet.stop(self._grace_s)


def _is_ours(error: BaseException) -> bool:
    """True if it came through code of this package."""
    package = __name__.partition(".")[0]
    return any(
        frame.f_globals.get("__name__", "").startswith(package) for frame, _ in traceback.walk_tb(error.__traceback__)
    )
