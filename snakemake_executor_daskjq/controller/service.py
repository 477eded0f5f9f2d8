"""The pilots of a controller, and the runs that use them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..dask_cluster.external import Guest
from ..dask_cluster.fleet import Fleet
from ..errors import ClusterStartError
from ..journal.journal import RunFolder
from ..policy.budget import Budget
from .driver import CANCEL_GRACE_S, FENCE_S, PATIENCE_S, WAKE_S, Driver
from .left import Left
from .protocol import Status, Stopped
from .run import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ..config.settings import Config
    from ..dask_cluster.spare import Spare
    from ..model.pool import Pool
    from ..model.request import Outlook, Request
    from .driver import Reporter
    from .protocol import Begin, Job

START_S = 120.0
"""A scheduler that does not run after this time never will."""

END_S = CANCEL_GRACE_S + FENCE_S + PATIENCE_S + WAKE_S + 10.0
"""So long the jobs of a run may take to end where pilots go on, for a pilot may be lost just then."""


class Service:
    """Starts the scheduler with the first run, in whose folder the pilots log, and ends all pilots at its own end.

    `when_left_is_over` is called when a run that was left has ended, and whether one has (`leave`).
    """

    def __init__(
        self,
        config: Config,
        pools: Sequence[Pool],
        folder: RunFolder,
        spare: Spare | None,
        when_left_is_over: Callable[[], None],
    ) -> None:
        self._config = config
        self._when_left_is_over = when_left_is_over
        self._pools = pools
        self._folder = folder
        self._spare = spare
        self._driver: Driver[Any] = Driver(
            pools, self._open_fleet, folder.pilot_logs, Budget(config.max_cores, config.max_core_hours)
        )
        self._runs: dict[int, Run] = {}
        self._closing: dict[int, asyncio.Task[None]] = {}  # runs that were left and are over
        self.left = Left()

    async def start(self) -> None:
        """Start the Dask scheduler. Raises ClusterStartError or OSError."""
        try:
            async with asyncio.timeout(START_S):
                await self._driver.fleet.start()
        except TimeoutError as error:
            raise ClusterStartError(f"The Dask scheduler could not be started in {START_S:.0f} s.") from error

    @property
    def dashboard_link(self) -> str:
        """The dashboard's address, or ""."""
        return self._driver.fleet.dashboard_link or ""

    def begin(self, number: int, begin: Begin, reporter: Reporter, keep_s: float) -> None:
        """A run begins, whose number no other has had. Raises OSError where its journal can't be written."""
        folder = RunFolder(begin.base, begin.name, Path(begin.cwd))
        run = self._runs[number] = Run(number, folder, self._folder.name, self._pools, reporter, self.left)
        self._driver.begin(number, run, run.history.rules, keep_s)

    def learn(self, number: int, outlook: Outlook) -> None:
        """What a run's workflow has before it; once, before the first jobs."""
        self._driver.learn(number, outlook)

    def submit(self, number: int, jobs: Iterable[Job]) -> None:
        """Take over a batch of a run's jobs. Raises TakenOverError for one that is another's."""
        self._driver.settle()  # what has just ended is known as that
        jobs = list(jobs)
        self.left.check(request for request, _, _ in jobs)
        self._driver.submit(number, [(self.left.submitted(request, claim), spec) for request, spec, claim in jobs])
        self._close_left()

    def leave(self, number: int) -> None:
        """A run's Snakemake has died: what runs of it goes on, and the run is over once nothing does."""
        run = self._runs[number]
        run.leave(self._close_left)
        self._driver.withdraw(number)
        self._driver.settle()
        self.left.leave(number, run.place)
        run.write_leftover(self.left.running(), self._folder.path.absolute())
        self._close_left()

    def _close_left(self) -> None:
        """End the runs that were left where none of their jobs runs any more, or all are another's."""
        for number in self.left.over_runs() & self._runs.keys() - self._closing.keys():
            self._closing[number] = asyncio.create_task(self._end_left(number))

    async def _end_left(self, number: int) -> None:
        await self.end(number, cancel=True)
        del self._closing[number]
        self._when_left_is_over()

    def status(self) -> Status:
        """What there is now."""
        pilots, runs = self._driver.core.status()
        return Status(pilots, [(self._runs[one.run].place.name, one) for one in runs if one.run in self._runs])

    def mute(self, number: int) -> None:
        """A run's Snakemake has died; it goes on, for it has what is to stay."""
        self._runs[number].leave(lambda: None)

    def unstarted(self, request: Request, why: str) -> None:
        """Note a job that fails before it could be submitted."""
        self._driver.unstarted(request, why)

    def withdraw(self, number: int) -> None:
        """Take back a run's jobs that have not begun; each is told as that."""
        self._driver.withdraw(number)

    def reported(self, number: int, reports: Iterable[tuple[str, bool]]) -> None:
        """Note that Snakemake has heard of ends of jobs."""
        if (run := self._runs.get(number)) is not None:  # it may just have ended with all others
            reports = list(reports)
            self.left.reported([key for key, _ in reports])
            run.reported(reports)

    async def end(self, number: int, *, cancel: bool) -> Stopped:
        """End a run and its jobs; pilots and other runs go on. Jobs that do not end then do with their pilots."""
        self.left.ends(number)
        try:
            over = await asyncio.wait_for(self._driver.end(number), END_S)
        except TimeoutError:
            lines = self._close(number, cancelled=True)
            return Stopped(
                frozenset(self._driver.core.waiting(number)),
                (*lines, f"jobs of this run have not ended in {END_S:.0f} s; they end with their pilots."),
            )
        run = self._runs.pop(number)
        self.left.over(number)
        return Stopped(over.waiting, run.close(over.summary, cancelled=cancel))

    def _close(self, number: int, *, cancelled: bool) -> tuple[str, ...]:
        known = self._driver.core.runs.get(number)
        return self._runs.pop(number).close(None if known is None else known.summary, cancelled=cancelled)

    async def stop(self, *, cancel: bool) -> dict[int, Stopped]:
        """End pilots and scheduler; with `cancel`, running jobs first. Returns what runs there were."""
        stopped: dict[int, Stopped] = {}
        for closing in self._closing.values():
            closing.cancel()
        try:
            await self._driver.close()
            await self._driver.fleet.stop(CANCEL_GRACE_S if cancel else None)
        finally:
            for number in list(self._runs):
                waiting = frozenset(self._driver.core.waiting(number))
                stopped[number] = Stopped(waiting, self._close(number, cancelled=cancel))
        return stopped

    def _open_fleet(self, listener: Any) -> Any:
        if self._config.scheduler is not None:
            return Guest(self._config.scheduler, self._config.lease_s, self._folder, listener)
        return Fleet(self._config, self._folder, listener, self._spare)
