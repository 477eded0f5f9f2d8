"""Drives the controller core in a run: clock, Dask, batch system, journal and Snakemake's side are here.

Everything belongs to one event loop. What happens within one turn of it reaches the core as one burst.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import shutil
import time
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from .. import batch
from ..batch.base import UNKNOWN
from ..dask_cluster.pilots import last_words
from ..errors import defect
from ..launcher.lease import GRACE_S
from ..model.job_spec import invited, worker_spec
from ..policy import messages, planner
from ..policy.core import Core

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence
    from pathlib import Path

    from ..errors import DaskjqError
    from ..journal.history import History
    from ..journal.journal import Journal, RunFolder
    from ..model.job_spec import JobSpec
    from ..model.outcome import Outcome
    from ..model.pool import Pool
    from ..model.request import Amounts, Outlook, Request
    from ..policy.messages import Event, Instruction

FENCE_S = 5.0
"""After a pilot has disconnected, its jobs go on for less than this: whoever notices ends them (`launcher.lease`)."""

WAKE_S = GRACE_S + 1.0
"""A launcher whose pilot has died ends its jobs within this time, also if it was stopped before."""

PATIENCE_S = 60.0
"""So long the batch system may list a lost pilot after it was cancelled; a node that is down may stay listed."""


class Reporter(Protocol):
    """Hears what Snakemake and the user have to know. Called in the loop; must not block."""

    def job_ended(self, request: Request, outcome: Outcome, pilot: str) -> None: ...

    def tell(self, text: str) -> None: ...

    def warn(self, text: str) -> None: ...

    def give_up(self, error: DaskjqError) -> None: ...


class Pilots(Protocol):
    """What the driver needs of a `Fleet`."""

    async def request(self, pilot: str, pool: Pool, excluded: tuple[str, ...]) -> None: ...

    async def end(self, pilot: str) -> None: ...

    async def run(self, address: str, spec: JobSpec, amounts: Amounts) -> Outcome: ...


Fleet = TypeVar("Fleet", bound=Pilots)


class Driver(Generic[Fleet]):
    """One run's core with all that it acts on. The fleet tells it of pilots (`FleetListener`)."""

    def __init__(
        self,
        pools: Iterable[Pool],
        open_fleet: Callable[[Driver[Fleet]], Fleet],
        reporter: Reporter,
        journal: Journal,
        folder: RunFolder,
        history: History,
    ) -> None:
        self.core = Core(pools, history.rules, seed=random.getrandbits(32))
        self.fleet = open_fleet(self)
        self._reporter = reporter
        self._journal = journal
        self._folder = folder
        self._history = history
        self._specs: dict[str, JobSpec] = {}
        self._leaders: dict[str, tuple[JobSpec, Path]] = {}  # with Dask workers: this try's spec, and where they meet
        self._serial = itertools.count(1)
        self._addresses: dict[str, str] = {}
        self._events: list[Event] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False

    # -- what Snakemake does ------------------------------------------------------------------------------------

    def learn(self, outlook: Outlook) -> None:
        """What the workflow has before it."""
        self.post(messages.OutlookLearned(outlook))

    def submit(self, jobs: Iterable[tuple[Request, JobSpec]]) -> None:
        """Take over a batch of jobs."""
        jobs = tuple(jobs)
        self._specs.update({request.key: spec for request, spec in jobs})
        self.post(messages.JobsSubmitted(tuple(request for request, _ in jobs)))

    def unstarted(self, request: Request, why: str) -> None:
        """Note a job that ends before it gets here."""
        self.post(messages.JobUnstarted(request, why))

    def withdraw(self) -> None:
        """Take back the jobs that were never placed."""
        self.post(messages.JobsWithdrawn())

    async def close(self) -> None:
        """Place, plan and report nothing any more. The fleet still has to be stopped."""
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        # What has come in this turn of the loop still counts: a job that has ended is reported as that.
        last = self.core.handle(*self._take_events(), messages.RunEnds(), now=time.time())
        kinds = messages.Record | messages.ReportEnd | messages.Learn | messages.Tell
        self._carry_out_all([instruction for instruction in last if isinstance(instruction, kinds)])
        try:
            self._history.save()
        except OSError as error:
            self._reporter.warn(f"What this run has learned of its rules could not be kept: {error}")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- what pilots do (FleetListener) -------------------------------------------------------------------------

    def pilot_submitted(self, pilot: str, batch_id: str) -> None:
        self.post(messages.PilotSubmitted(pilot, batch_id))

    def pilot_start_failed(self, pilot: str, words: str) -> None:
        self.post(messages.PilotStartFailed(pilot, words))

    def pilot_connected(self, pilot: str, address: str, host: str) -> None:
        self._addresses[pilot] = address
        self.post(messages.PilotConnected(pilot, host))

    def pilot_granted(self, pilot: str, cores: int) -> None:
        self.post(messages.PilotGranted(pilot, cores))

    def pilot_shared(self, pilot: str, others: Amounts) -> None:
        self.post(messages.PilotShared(pilot, others))

    def pilot_disconnected(self, pilot: str) -> None:
        self.post(messages.PilotDisconnected(pilot))

    # -- the core -----------------------------------------------------------------------------------------------

    def post(self, event: Event) -> None:
        """Tell the core at the end of this turn of the loop."""
        if not self._events and not self._closing:
            asyncio.get_running_loop().call_soon(self._turn)
        self._events.append(event)

    def _take_events(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def _turn(self) -> None:
        if not self._closing:
            self._carry_out_all(self.core.handle(*self._take_events(), now=time.time()))

    def _carry_out_all(self, instructions: Sequence[Instruction]) -> None:
        """What is recorded is recorded at once, before the rest happens."""
        self._journal.write(*(one.event for one in instructions if isinstance(one, messages.Record)))
        for instruction in instructions:
            if not isinstance(instruction, messages.Record):
                self._carry_out(instruction)

    def _carry_out(self, instruction: Instruction) -> None:
        match instruction:
            case messages.StartJob(request, pilot):
                self._spawn(self._run(request, pilot, self._spec_of(request)))
            case messages.ReportEnd(request, outcome, pilot):
                del self._specs[request.key]
                self._reporter.job_ended(request, outcome, pilot)
            case messages.Learn(rule, usage):
                self._history.learn(rule, usage)
            case messages.WakeAt(at):
                if self._timer is not None:
                    self._timer.cancel()
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(max(0.0, at - time.time()), self.post, messages.Woken())
            case messages.MakePlan():
                self._spawn(self._plan(instruction))
            case messages.RequestPilot(pilot, pool, excluded):
                self._spawn(self.fleet.request(pilot, pool, excluded))
            case messages.EndPilot(pilot):
                self._spawn(self.fleet.end(pilot))
            case messages.BuryPilot():
                self._spawn(self._bury(instruction))
            case messages.AskBatch(system, batch_ids):
                self._spawn(self._ask(system, batch_ids))
            case messages.ReadPilotLog(pilot, batch_id):
                self.pilot_start_failed(pilot, self._said_last(batch_id))
            case messages.Tell(text, warning):
                (self._reporter.warn if warning else self._reporter.tell)(text)
            case messages.GiveUp(error):
                self._reporter.give_up(error)
            case messages.DropWorkers(leader):
                if (started := self._leaders.pop(leader, None)) is not None:
                    shutil.rmtree(started[1], ignore_errors=True)

    def _spec_of(self, request: Request) -> JobSpec:
        if request.workers is not None:
            return self._invited(request.key)
        if request.leader:
            return worker_spec(self._leaders[request.leader][0], request.key)
        return self._specs[request.key]

    def _invited(self, key: str) -> JobSpec:
        """The spec of a try of a job with Dask workers: those of an earlier one must not come to it."""
        folder = self._folder.dask_workers(key) / f"{next(self._serial)}"
        try:
            folder.mkdir(mode=0o700, parents=True)
        except OSError as error:
            self._reporter.warn(f"Dask workers have nowhere to meet: {error}")  # so the job fails
        spec = invited(self._specs[key], str(folder.absolute()))
        self._leaders[key] = spec, folder
        return spec

    async def _run(self, request: Request, pilot: str, spec: JobSpec) -> None:
        outcome = await self.fleet.run(self._addresses[pilot], spec, request.amounts)
        self.post(messages.JobEnded(request.key, pilot, outcome))

    async def _plan(self, asked: messages.MakePlan) -> None:
        """In a thread: an integer program takes up to seconds, and jobs end meanwhile."""
        started = time.perf_counter()
        answer = await asyncio.to_thread(planner.plan, asked.demands, asked.supplies)
        self.post(messages.PlanMade(answer, time.perf_counter() - started))

    async def _ask(self, system: str, batch_ids: tuple[str, ...]) -> None:
        self.post(messages.BatchAnswered(system, await batch.system(system).listed(batch_ids)))

    async def _bury(self, lost: messages.BuryPilot) -> None:
        """Make sure that nothing of a lost pilot runs any more, and learn how it ended."""
        dead_at = time.monotonic() + FENCE_S
        system = batch.system(lost.system)
        in_batch = system.queues and bool(lost.batch_id)
        known = in_batch or not system.queues  # else it connected before its submit command had answered
        ended = await system.how_ended(lost.batch_id, FENCE_S) if known else UNKNOWN
        await self.fleet.end(lost.pilot)
        if in_batch:
            await system.until_gone(lost.batch_id, PATIENCE_S)
        # A pilot that was stopped has died just now, and so woken launchers that were stopped with it.
        await asyncio.sleep(max(dead_at - time.monotonic(), WAKE_S))
        self.post(messages.PilotGone(lost.pilot, ended))

    def _said_last(self, batch_id: str) -> str:
        logs = sorted(self._folder.pilot_logs.glob(f"*{batch_id}*"), key=lambda path: path.suffix != ".err")
        words = next((words for log in logs if (words := last_words(log))), "its log says nothing")
        return f"batch job {batch_id} ended before it connected: {words}"

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self._closing:
            # A defect of ours, or of Dask: better told and ended than a job that waits for ever.
            self._reporter.give_up(defect(error))
