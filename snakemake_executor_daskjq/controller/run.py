"""What a controller has of one run: its journal, what it learns of rules, and who hears of its jobs."""

from __future__ import annotations

import dataclasses
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

from ..journal import events
from ..journal.history import History
from ..journal.journal import SCHEMA, Journal, RunFolder
from .left import Place
from .leftover import Leftover, forget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from ..errors import DaskjqError
    from ..model.outcome import Outcome
    from ..model.pool import Pool
    from ..model.request import Request
    from ..model.usage import Usage
    from ..policy.summary import Summary
    from .driver import Reporter
    from .left import Left


class Run:
    """One run (a `driver.RunSide`). Raises OSError where its journal can't be written.

    `controller` is the name of the run that has started the controller.
    """

    def __init__(
        self, number: int, folder: RunFolder, controller: str, pools: Sequence[Pool], reporter: Reporter, left: Left
    ) -> None:
        self.number = number
        self.place = Place(folder.name, str(folder.path.parent.parent.absolute()))
        self._folder = folder
        self._reporter = reporter
        self._left = left
        self._when_left: Callable[[], None] | None = None
        self._reported: list[bool] = []
        self._journal = Journal(folder.journal_path, reporter.warn)
        shown = {pool.name: dataclasses.asdict(pool) for pool in pools}
        own = version("snakemake-executor-plugin-daskjq")
        self._journal.write(events.RunStarted(schema=SCHEMA, version=own, pools=shown, controller=controller))
        self.history = History(folder.history_path)

    # -- what its Snakemake says ------------------------------------------------------------------------------------

    def reported(self, reports: Iterable[tuple[str, bool]]) -> None:
        """Note that Snakemake has heard of ends of jobs."""
        reports = list(reports)
        self._journal.write(*(events.JobReported(key=key, success=success) for key, success in reports))
        self._reported += [success for _, success in reports]

    def close(self, summary: Summary | None, *, cancelled: bool) -> tuple[str, ...]:
        """The run is over: write the last of it. Returns what it used, in lines for the user."""
        try:
            self.history.save()
        except OSError as error:
            self._reporter.warn(f"What this run has learned of its rules could not be kept: {error}")
        if self._when_left is None:
            self._folder.forget_workers()  # else they may be another run's by now, and go one by one
        forget(self._folder.path)
        self._journal.write(events.RunEnded(cancelled=cancelled))
        self._journal.close()
        if summary is None:
            return ()
        for success in self._reported:
            summary.job_ended(success=success)
        return (summary.line(), *summary.slow_starts())

    # -- what the driver says ---------------------------------------------------------------------------------------

    def record(self, *what: events.Event | tuple[events.Event, float]) -> None:
        """Write these in the journal."""
        self._journal.write(*what)

    def learn(self, rule: str, usage: Usage) -> None:
        """Remember what a job has used, for later runs."""
        self.history.learn(rule, usage)

    def dask_workers(self, key: str) -> Path:
        """Where the Dask workers of a job meet."""
        return self._folder.dask_workers(key)

    def leave(self, when_job_ended: Callable[[], None]) -> None:
        """Its Snakemake has died: nobody hears of it, and `when_job_ended` is called instead."""
        self._when_left = when_job_ended

    def write_leftover(self, jobs: int, controller: Path) -> None:
        """Tell later runs that so many jobs of it go on under a controller."""
        try:
            Leftover.here(jobs, controller, self._folder.path.absolute()).write()
        except OSError as error:
            print(f"what is left of run {self.place.name} could not be noted: {error}", file=sys.stderr)

    def job_ended(self, request: Request, outcome: Outcome, pilot: str) -> None:
        self._left.ended(request, outcome, pilot)
        if self._when_left is None:
            self._reporter.job_ended(request, outcome, pilot)
        else:
            self._when_left()

    def tell(self, text: str) -> None:
        if self._when_left is None:
            self._reporter.tell(text)

    def warn(self, text: str) -> None:
        if self._when_left is None:
            self._reporter.warn(text)

    def give_up(self, error: DaskjqError) -> None:
        if self._when_left is None:
            self._reporter.give_up(error)
        else:  # what was lost with a pilot starts nowhere any more
            self._left.give_up(self.number)
            self._when_left()
