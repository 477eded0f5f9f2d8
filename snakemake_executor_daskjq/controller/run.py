"""What a controller has of one run: its journal, its jobs and its pilots, from the first jobs to the last word."""

from __future__ import annotations

import asyncio
import dataclasses
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..dask_cluster.external import Guest
from ..dask_cluster.fleet import Fleet
from ..errors import ClusterStartError
from ..journal import events
from ..journal.history import History
from ..journal.journal import SCHEMA, Journal, RunFolder
from .driver import Driver
from .protocol import Stopped

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..config.settings import Config
    from ..dask_cluster.spare import Spare
    from ..model.pool import Pool
    from ..model.request import Outlook, Request
    from .driver import Reporter
    from .protocol import Begin

CANCEL_GRACE_S = 5.0
"""Between TERM and KILL for running jobs when the run is cancelled."""

START_S = 120.0
"""A scheduler that does not run after this time never will."""


class Run:
    """Starts the scheduler, dispatches jobs, and ends everything. Raises OSError where its journal can't be written."""

    def __init__(
        self, config: Config, pools: Sequence[Pool], begin: Begin, reporter: Reporter, spare: Spare | None
    ) -> None:
        self._folder = folder = RunFolder(begin.base, begin.name, Path(begin.cwd))
        self._config = config
        self._spare = spare
        self._journal = Journal(folder.journal_path, reporter.warn)
        shown = {pool.name: dataclasses.asdict(pool) for pool in pools}
        self._journal.write(
            events.RunStarted(schema=SCHEMA, version=version("snakemake-executor-plugin-daskjq"), pools=shown)
        )
        history = History(folder.history_path)
        self._driver = Driver(pools, self._open_fleet, reporter, self._journal, folder, history)

    async def start(self) -> str:
        """Start the Dask scheduler; returns its dashboard's address, or "". Raises ClusterStartError or OSError."""
        fleet = self._driver.fleet
        try:
            async with asyncio.timeout(START_S):
                await fleet.start()
        except TimeoutError as error:
            raise ClusterStartError(f"The Dask scheduler could not be started in {START_S:.0f} s.") from error
        return fleet.dashboard_link or ""

    def learn(self, outlook: Outlook) -> None:
        """What the workflow has before it; once, before the first jobs."""
        self._driver.learn(outlook)

    def submit(self, jobs: Iterable[tuple[Request, Any]]) -> None:
        """Take over a batch of jobs, each with its `JobSpec`."""
        self._driver.submit(jobs)

    def unstarted(self, request: Request, why: str) -> None:
        """Note a job that fails before it could be submitted."""
        self._driver.unstarted(request, why)

    def withdraw(self) -> None:
        """Take back the jobs that have not begun; each is told as that."""
        self._driver.withdraw()

    def reported(self, reports: Iterable[tuple[str, bool]]) -> None:
        """Note that Snakemake has heard of ends of jobs."""
        reports = list(reports)
        self._journal.write(*(events.JobReported(key=key, success=success) for key, success in reports))
        for _, success in reports:
            self._driver.core.summary.job_ended(success=success)

    async def stop(self, *, cancel: bool) -> Stopped:
        """End pilots and scheduler; with `cancel`, running jobs too. Returns when all are gone."""
        try:
            await self._driver.close()
            waiting = frozenset(self._driver.core.waiting)
            await self._driver.fleet.stop(CANCEL_GRACE_S if cancel else None)
        finally:
            self._folder.forget_workers()
            self._journal.write(events.RunEnded(cancelled=cancel))
            self._journal.close()
        return Stopped(waiting, (self._driver.core.summary.line(), *self._driver.core.summary.slow_starts()))

    def _open_fleet(self, listener: Any) -> Any:
        if self._config.scheduler is not None:
            return Guest(self._config.scheduler, self._config.lease_s, self._folder, listener)
        return Fleet(self._config, self._folder, listener, self._spare)
