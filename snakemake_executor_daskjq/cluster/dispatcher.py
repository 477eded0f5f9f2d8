"""Turns policy's decisions into futures, and what happens to jobs into events; `roster` has the pilots.

Everything here runs in one event loop, so the state needs no lock. Each event (jobs submitted, a job's end,
a pilot that comes or goes, a timer) asks for one round: place what fits, request pilots for the rest, end
idle ones. What must hold: each submitted job ends in exactly one report, and nothing is placed beyond a
pilot's free amounts.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic

from ..errors import DaskjqError, NoPilotError
from ..model import events
from ..model.outcome import End, Outcome
from ..model.pool import PilotState
from ..policy import planner
from ..policy.placement import ReadyQueue, place
from .roster import Fleet, Pilot, Roster

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from ..journal import Journal, RunFolder
    from ..model.pool import Pool
    from ..model.request import Launch, Request, Shape
    from .roster import Reporter
    from .summary import Summary

LOST_BUDGET = 3
"""So many pilots may be lost under a job before it is reported as failed."""

REPLAN_S = 15.0
"""While jobs wait, think again about pilots this often: running jobs may turn out longer than expected."""

LOOK_AHEAD_S = 0.25
"""Jobs that take less than this keep a second one of their kind at the pilot, to start without a round trip."""


@dataclass(slots=True)
class Job:
    request: Request
    launch: Launch
    shape: Shape
    tries: int = 0
    lost_with: list[str] = field(default_factory=list)
    placed_at: float = 0.0


class Dispatcher(Generic[Fleet]):
    def __init__(
        self,
        pools: Iterable[Pool],
        open_fleet: Callable[[Roster[Fleet]], Fleet],
        reporter: Reporter,
        journal: Journal,
        folder: RunFolder,
        summary: Summary,
    ) -> None:
        self.roster = Roster(pools, open_fleet, self, reporter, journal, folder, summary)
        self.fleet = self.roster.fleet
        self._reporter = reporter
        self._journal = journal
        self._summary = summary
        self._ready = ReadyQueue()
        self._jobs: dict[str, Job] = {}
        self._seen: dict[str, tuple[int, float]] = {}  # rule -> jobs ended, their wall seconds
        self._tasks: set[asyncio.Task[None]] = set()
        self._round_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False

    # -- what Snakemake does --------------------------------------------------------------------------

    def submit(self, jobs: Iterable[tuple[Request, Launch]]) -> None:
        """Take over a batch of jobs."""
        for request, launch in jobs:
            self._jobs[request.key] = Job(request, launch, request.shape)
            self._ready.push(request)
            self._journal.write(
                events.JobSubmitted(
                    key=request.key,
                    job_id=request.job_id,
                    rule=request.rule,
                    attempt=request.attempt,
                    amounts=request.amounts,
                    runtime_s=request.runtime_s,
                    pools=request.pools,
                )
            )
        self.want_round()

    async def close(self) -> None:
        """Place, plan and report nothing any more."""
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        self.roster.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- rounds ----------------------------------------------------------------------------------------

    def want_round(self) -> None:
        if not self._round_due and not self._closing:
            self._round_due = True
            asyncio.get_running_loop().call_soon(self._round)

    def _round(self) -> None:
        self._round_due = False
        if self._closing:
            return
        now = time.time()
        running = self.roster.running()
        rooms = [pilot.room for pilot in running.values() if pilot.room is not None]
        for request, name in place(self._ready, rooms, now):
            self._start_job(request, running[name], now)
        for pilot in running.values():
            self._look_ahead(pilot, now)
        self._plan(now)
        self.roster.end_idle(now)
        self._set_timer(now)

    def _look_ahead(self, pilot: Pilot, now: float) -> None:
        """Send one job more for each that runs, if all are short and alike.

        Nothing is promised twice: Dask's worker holds it back by its resources until one that runs has ended,
        and as all are alike, whichever ends makes room for exactly one.
        """
        shapes = {self._jobs[key].shape for key in pilot.jobs}
        if len(shapes) != 1 or not all(self._is_short(self._jobs[key].request.rule) for key in pilot.jobs):
            return
        shape = shapes.pop()
        while 2 * pilot.ahead < len(pilot.jobs) and (head := self._ready.head(shape)) is not None:
            if not self._is_short(head.rule) or pilot.room is None or not pilot.room.can_end(head, now):
                return
            pilot.ahead, pilot.ahead_shape = pilot.ahead + 1, shape
            self._start_job(self._ready.pop(shape), pilot, now)

    def _is_short(self, rule: str) -> bool:
        count, total = self._seen.get(rule, (0, 0.0))
        return count > 0 and total / count < LOOK_AHEAD_S

    def _start_job(self, request: Request, pilot: Pilot, now: float) -> None:
        job = self._jobs[request.key]
        job.tries += 1
        job.placed_at = now
        pilot.jobs.add(request.key)
        self._journal.write(events.JobPlaced(key=request.key, pilot=pilot.name, tries=job.tries))
        self.spawn(self._run(job, pilot))

    async def _run(self, job: Job, pilot: Pilot) -> None:
        request = job.request
        outcome = await self.fleet.run(pilot.address, job.launch, request.amounts)
        if self._closing:
            return  # Snakemake has been told that the run is over, or is about to be
        pilot.jobs.discard(request.key)
        if pilot.ahead and job.shape == pilot.ahead_shape:
            pilot.ahead -= 1  # one that waits at the pilot takes over what this one held
        elif pilot.room is not None:
            pilot.room.give_back(request.amounts)
        if not pilot.jobs:
            pilot.idle_since = time.time()
        if outcome.end is End.LOST:
            job.lost_with.append(pilot.name)
        retry = outcome.end is End.LOST and len(job.lost_with) < LOST_BUDGET
        self._journal.write(
            events.JobEnded(
                key=request.key,
                pilot=pilot.name,
                end=outcome.end,
                reported=not retry,
                exit_status=outcome.exit_status,
                signal_number=outcome.signal_number,
                started_at=outcome.started_at,
                ended_at=outcome.ended_at,
                cpu_s=outcome.cpu_s,
                peak_mem_mb=outcome.peak_mem_mb,
                detail=outcome.detail,
                warm_start=outcome.warm_start,
                colder_because=outcome.colder_because,
            )
        )
        self._summary.used(request.amounts["cores"] * outcome.wall_s)
        if retry:
            self._ready.push(request)
        else:
            del self._jobs[request.key]
            if outcome.end in (End.SUCCEEDED, End.FAILED):
                count, total = self._seen.get(request.rule, (0, 0.0))
                self._seen[request.rule] = (count + 1, total + outcome.wall_s)
            if outcome.end is End.LOST:
                outcome = Outcome(End.LOST, detail=f"with pilots {', '.join(job.lost_with)} ({outcome.detail})")
            self._reporter.job_ended(request, outcome, pilot.name)
        self.want_round()

    def _plan(self, now: float) -> None:
        if not self._ready:
            return
        shapes = list(self._ready.shapes())
        running: Counter[str] = Counter()
        coming: Counter[str] = Counter()
        ending: Counter[str] = Counter()
        for pilot in self.roster.pilots.values():
            if pilot.room is not None:
                useful = any(pilot.room.can_end(request, now) for request, _ in shapes)
                (running if useful else ending)[pilot.pool.name] += 1
            elif pilot.state in (PilotState.REQUESTED, PilotState.PENDING):
                coming[pilot.pool.name] += 1
        for name, starts in self.roster.starts.items():
            if starts.given_up and not running[name] and not coming[name] and not ending[name]:
                self._reporter.give_up(NoPilotError(name, starts.failures, starts.words))
                self._closing = True
                return
        expected = self._expected_seconds(now)
        demands = [planner.Demand(request, jobs, expected(request)) for request, jobs in shapes]
        wanted = planner.plan(demands, self.roster.pools.values(), running, coming, ending)
        for name, more in wanted.items():
            if now >= self.roster.starts[name].not_before and not self.roster.starts[name].given_up:
                self.roster.request(self.roster.pools[name], more)

    def _expected_seconds(self, now: float) -> Callable[[Request], float]:
        """Seconds that a job of a rule takes.

        As measured in this run, else as stated, else a guess; never less than what running ones have taken.
        """
        ages: defaultdict[str, float] = defaultdict(float)
        for pilot in self.roster.pilots.values():
            for key in pilot.jobs:
                job = self._jobs[key]
                ages[job.request.rule] = max(ages[job.request.rule], now - job.placed_at)

        def expected(request: Request) -> float:
            count, total = self._seen.get(request.rule, (0, 0.0))
            guess = total / count if count else float(request.runtime_s or planner.UNKNOWN_RUNTIME_S)
            return max(guess, ages[request.rule])

        return expected

    def _set_timer(self, now: float) -> None:
        """Wake up when something becomes due that no event announces."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due: list[float] = []
        if self._ready:
            due.append(now + REPLAN_S)
            due += [starts.not_before for starts in self.roster.starts.values() if starts.not_before > now]
        due += self.roster.idle_due()
        if due:
            delay = max(0.05, min(due) - now)
            self._timer = asyncio.get_running_loop().call_later(delay, self.want_round)

    def job_counts(self) -> str:
        waiting = len(self._ready)
        return f"jobs: {len(self._jobs) - waiting} running, {waiting} waiting"

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self._closing:
            # A defect of ours, or of Dask: better told and ended than a job that waits for ever.
            self._reporter.give_up(DaskjqError(f"internal error: {type(error).__name__}: {str(error)[:300]}"))
