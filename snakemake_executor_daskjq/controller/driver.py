"""Drives the controller core: clock, Dask and batch system are here, journals and Snakemake's side with each run.

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
from ..policy.budget import NO_LIMIT
from ..policy.core import Core

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
    from pathlib import Path

    from ..errors import DaskjqError
    from ..journal import events
    from ..model.job_spec import JobSpec
    from ..model.outcome import Outcome
    from ..model.pool import Pool
    from ..model.request import Amounts, Outlook, Request
    from ..model.usage import Usage
    from ..policy.budget import Budget
    from ..policy.messages import Event, Instruction

CANCEL_GRACE_S = 5.0
"""Between TERM and KILL for running jobs when their run is cancelled."""

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


class RunSide(Reporter, Protocol):
    """One run, as its controller's driver sees it."""

    def record(self, *what: events.Event | tuple[events.Event, float]) -> None:
        """Write these in its journal."""

    def learn(self, rule: str, usage: Usage) -> None:
        """Remember what a job has used."""

    def dask_workers(self, key: str) -> Path:
        """Where the Dask workers of a job meet: a folder for each of its tries in this one."""


class Pilots(Protocol):
    """What the driver needs of a `Fleet`."""

    async def request(self, pilot: str, pool: Pool, excluded: tuple[str, ...]) -> None: ...

    async def end(self, pilot: str) -> None: ...

    async def run(self, address: str, spec: JobSpec, amounts: Amounts) -> Outcome: ...

    async def end_jobs(self, address: str, keys: Collection[str], grace_s: float) -> None: ...


Fleet = TypeVar("Fleet", bound=Pilots)


class Driver(Generic[Fleet]):
    """A controller's core with all that it acts on. The fleet tells it of pilots (`FleetListener`).

    `pilot_logs` is the folder in which the fleet has pilots log.
    """

    def __init__(
        self,
        pools: Iterable[Pool],
        open_fleet: Callable[[Driver[Fleet]], Fleet],
        pilot_logs: Path,
        budget: Budget = NO_LIMIT,
    ) -> None:
        self.core = Core(pools, random.getrandbits(32), budget)
        self.fleet = open_fleet(self)
        self._pilot_logs = pilot_logs
        self._runs: dict[int, RunSide] = {}
        self._over: dict[int, asyncio.Future[messages.RunOver]] = {}
        self._unwanted: dict[str, list[str]] = {}  # jobs that are to end, by their pilot
        self._specs: dict[int, dict[str, JobSpec]] = {}  # by the run, and the job's key
        self._leaders: dict[str, tuple[JobSpec, Path]] = {}  # with Dask workers: this try's spec, and where they meet
        self._serial = itertools.count(1)
        self._addresses: dict[str, str] = {}
        self._events: list[Event] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False

    # -- what runs do -------------------------------------------------------------------------------------------

    def begin(self, run: int, side: RunSide, history: Mapping[str, Usage], keep_s: float = 0.0) -> None:
        """A run begins, whose number nobody had before. With `keep_s`, pilots are to stay so long for others."""
        self._runs[run] = side
        self._specs[run] = {}
        self.post(messages.RunBegins(run, history, keep_s))

    async def end(self, run: int) -> messages.RunOver:
        """End a run and its jobs; returns when nothing of it runs any more. It hears nothing more of its jobs.

        Where that is given up, what is left of it ends with its pilots, and nobody hears of it.
        """
        self._over[run] = asyncio.get_running_loop().create_future()
        self.post(messages.RunEnds(run))
        try:
            return await self._over[run]
        finally:
            del self._over[run], self._runs[run]

    def learn(self, run: int, outlook: Outlook) -> None:
        """What a run's workflow has before it."""
        self.post(messages.OutlookLearned(outlook, run))

    def submit(self, run: int, jobs: Iterable[tuple[Event, JobSpec]]) -> None:
        """Take over a batch of jobs of a run, each with what its submission is to the core."""
        for event, spec in jobs:
            self._specs[run][spec.key] = spec
            self.post(event)

    def unstarted(self, request: Request, why: str) -> None:
        """Note a job that ends before it gets here."""
        self.post(messages.JobUnstarted(request, why))

    def withdraw(self, run: int) -> None:
        """Take back a run's jobs that were never placed."""
        self.post(messages.JobsWithdrawn(run))

    async def close(self) -> None:
        """Place, plan and report nothing any more. The fleet still has to be stopped."""
        if self._closing:
            return
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        # What has come in this turn of the loop still counts: a job that has ended is reported as that.
        last = self.core.handle(*self._take_events(), messages.ControllerEnds(), now=time.time())
        kinds = messages.Record | messages.ReportEnd | messages.Learn | messages.Tell
        self._carry_out_all([instruction for instruction in last if isinstance(instruction, kinds)])
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

    def settle(self) -> None:
        """Have the core hear at once what has been posted in this turn."""
        if self._events:
            self._turn()

    def _turn(self) -> None:
        if not self._closing and self._events:
            self._carry_out_all(self.core.handle(*self._take_events(), now=time.time()))

    def _carry_out_all(self, instructions: Sequence[Instruction]) -> None:
        """What is recorded is recorded at once, before the rest happens."""
        self._record([one for one in instructions if isinstance(one, messages.Record)])
        for instruction in instructions:
            if not isinstance(instruction, messages.Record):
                self._carry_out(instruction)

    def _record(self, records: Sequence[messages.Record]) -> None:
        for run, side in self._runs.items():
            own = [one for one in records if one.run in (run, messages.ALL)]
            side.record(*(one.event if one.at is None else (one.event, one.at) for one in own))

    def _sides(self, run: int) -> list[RunSide]:
        """That of a run, or of all; none where the run is over."""
        return [side for number, side in self._runs.items() if run in (number, messages.ALL)]

    def _carry_out(self, instruction: Instruction) -> None:
        match instruction:
            case messages.StartJob(request, pilot):
                self._spawn(self._run(request, pilot, self._spec_of(request)))
            case messages.ReportEnd(request, outcome, pilot):
                del self._specs[request.run][request.key]
                for side in self._sides(request.run):
                    side.job_ended(request, outcome, pilot)
            case messages.EndJob(key, pilot):
                if not self._unwanted:
                    asyncio.get_running_loop().call_soon(self._end_unwanted)
                self._unwanted.setdefault(pilot, []).append(key)
            case messages.RunOver(run):
                del self._specs[run]
                if (over := self._over.get(run)) is not None and not over.done():  # else it was given up
                    over.set_result(instruction)
            case messages.Learn(rule, usage, run):
                for side in self._sides(run):
                    side.learn(rule, usage)
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
            case messages.Tell(text, warning, run):
                for side in self._sides(run):
                    (side.warn if warning else side.tell)(text)
            case messages.GiveUp(error, run):
                for side in self._sides(run):
                    side.give_up(error)
            case messages.DropWorkers(leader):
                if (started := self._leaders.pop(leader, None)) is not None:
                    shutil.rmtree(started[1], ignore_errors=True)

    def _spec_of(self, request: Request) -> JobSpec:
        if request.workers is not None:
            return self._invited(request)
        if request.leader:
            return worker_spec(self._leaders[request.leader][0], request.key)
        return self._specs[request.run][request.key]

    def _invited(self, request: Request) -> JobSpec:
        """The spec of a try of a job with Dask workers: those of an earlier one must not come to it."""
        key, side = request.key, self._runs[request.run]
        folder = side.dask_workers(key) / f"{next(self._serial)}"
        try:
            folder.mkdir(mode=0o700, parents=True)
        except OSError as error:
            side.warn(f"Dask workers have nowhere to meet: {error}")  # so the job fails
        spec = invited(self._specs[request.run][key], str(folder.absolute()))
        self._leaders[key] = spec, folder
        return spec

    def _end_unwanted(self) -> None:
        unwanted, self._unwanted = self._unwanted, {}
        for pilot, keys in unwanted.items():
            self._spawn(self.fleet.end_jobs(self._addresses[pilot], keys, CANCEL_GRACE_S))

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
        logs = sorted(self._pilot_logs.glob(f"*{batch_id}*"), key=lambda path: path.suffix != ".err")
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
            for side in self._sides(messages.ALL):
                side.give_up(defect(error))
