"""Turns policy's decisions into futures, and what happens to jobs into events; `roster` has the pilots.

Everything here runs in one event loop, so the state needs no lock. Each event (jobs submitted, a job's end,
a pilot that comes or goes, a timer) asks for one round: place what fits, request pilots for the rest, end
idle ones. What must hold: each submitted job ends in exactly one report, and nothing is placed beyond a
pilot's free amounts.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Generic

from ..batch.base import Cause
from ..errors import DaskjqError, NoPilotError
from ..history import Usage
from ..mapping import misfit
from ..model import events
from ..model.outcome import PILOT_ENDS, End, Outcome
from ..model.pool import PilotState
from ..policy import planner
from ..policy.estimates import UNKNOWN_RUNTIME_S, Estimates
from ..policy.idle import Prospects
from ..policy.losses import Losses
from ..policy.placement import may_start_ahead, place
from ..policy.queue import ReadyQueue
from ..policy.waits import waits_for
from .roster import Fleet, Pilot, Roster

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from ..history import History
    from ..journal import Journal, RunFolder
    from ..model.pool import Pool
    from ..model.request import Launch, Outlook, Request
    from .roster import Reporter
    from .summary import Summary

UPKEEP_S = 0.25
"""Pilots are thought about at most this often, for each time costs by pilots; jobs are placed at once."""

REPLAN_S = 15.0
"""Think again about pilots this often also if nothing happens: running jobs may turn out longer than expected."""

SOON_S = 60.0
"""An idle pilot is kept for jobs that become ready within this time."""

LOOK_AHEAD_S = 0.25
"""Jobs that take less than this keep a second one of their kind at the pilot, to start without a round trip."""


@dataclass(slots=True)
class Job:
    request: Request
    launch: Launch
    tries: int = 0
    losses: Losses = field(default_factory=Losses)
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
        history: History,
    ) -> None:
        self.roster = Roster(pools, open_fleet, self, reporter, journal, folder, summary)
        self.fleet = self.roster.fleet
        self._reporter = reporter
        self._journal = journal
        self._summary = summary
        self._history = history
        self._estimates = Estimates(history.rules)
        self._ready = ReadyQueue(self._estimates.expected_s, lambda rule: self._estimates.urgency_s(rule, time.time()))
        self._jobs: dict[str, Job] = {}
        self._changed: dict[str, Pilot] = {}  # pilots on which jobs have started or ended since the last round
        self._tasks: set[asyncio.Task[None]] = set()
        self._round_due = False
        self._upkeep_at = 0.0
        self._is_planning = False
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False

    # -- what Snakemake does --------------------------------------------------------------------------

    def learn(self, outlook: Outlook) -> None:
        """What the workflow has before it."""
        self._estimates.learn(outlook)

    def submit(self, jobs: Iterable[tuple[Request, Launch]]) -> None:
        """Take over a batch of jobs."""
        now = time.time()
        for asked, launch in jobs:
            request = self._with_memory(asked)
            self._jobs[request.key] = Job(request, launch)
            self._ready.push(request, now)
            self._note_submitted(request)
        self.want_round()

    def unstarted(self, request: Request, why: str) -> None:
        """Note a job that ends before it gets here: nothing of it is to come any more, and the journal has it."""
        self._note_submitted(request)
        self._note_end(request, "", Outcome(End.NOT_STARTED, detail=why), retry=False)
        self.want_round()

    def _note_submitted(self, request: Request) -> None:
        if request.attempt == 1:
            self._estimates.submitted(request.rule)
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

    def _note_end(self, request: Request, pilot: str, outcome: Outcome, *, retry: bool) -> None:
        self._journal.write(
            events.JobEnded(
                key=request.key,
                pilot=pilot,
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

    def _with_memory(self, request: Request) -> Request:
        """A job that states no memory gets what its rule has needed in earlier runs set aside.

        Set aside only: it has no limit, and is never too large for a pool that could hold it without.
        """
        wanted = None if "mem_mb" in request.amounts else self._estimates.memory_mb(request.rule)
        if wanted is None:
            return request
        offers = [pool.amounts["mem_mb"] for pool in self._fitting(request)]
        return replace(request, amounts={**request.amounts, "mem_mb": min([wanted, *offers])})

    def _fitting(self, request: Request) -> list[Pool]:
        """The pools whose pilots could hold it."""
        return [pool for pool in self.roster.pools.values() if request.may_use(pool.name) and not misfit(request, pool)]

    @property
    def begun(self) -> list[str]:
        """The keys of jobs that were placed and have not ended."""
        return [key for key, job in self._jobs.items() if job.tries > 0]

    async def close(self) -> None:
        """Place, plan and report nothing any more."""
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        self.roster.close()
        try:
            self._history.save()
        except OSError as error:
            self._reporter.warn(f"What this run has learned of its rules could not be kept: {error}")
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
        for request, room in place(self._ready, self.roster.ledger, now):
            self._start_job(request, self.roster.pilots[room.pilot], now)
        changed, self._changed = self._changed, {}
        for pilot in changed.values():
            self._look_ahead(pilot, now)
        if now >= self._upkeep_at:
            self._upkeep(now)
        else:
            self._wake_at(self._upkeep_at, now)

    def _look_ahead(self, pilot: Pilot, now: float) -> None:
        """Send one job more for each that runs, if all are short and alike.

        Nothing is promised twice: Dask's worker holds it back by its resources until one that runs has ended,
        and as all are alike, whichever ends makes room for exactly one.
        """
        requests = [self._jobs[key].request for key in pilot.jobs]
        if not requests or not all(self._is_short(request.rule) for request in requests):
            return
        like, room = requests[0], pilot.room
        if room is None or any(request.shape != like.shape for request in requests):
            return
        while 2 * len(pilot.ahead) < len(pilot.jobs) and may_start_ahead(like, room, self._ready):
            if not room.can_end(like, now) or (request := self._ready.take_like(like)) is None:
                return
            pilot.ahead.append(request.key)
            self._start_job(request, pilot, now)

    def _is_short(self, rule: str) -> bool:
        measured_s = self._estimates.measured_s(rule)
        return measured_s is not None and measured_s < LOOK_AHEAD_S

    def _start_job(self, request: Request, pilot: Pilot, now: float) -> None:
        job = self._jobs[request.key]
        job.tries += 1
        job.placed_at = now
        pilot.jobs.add(request.key)
        self._changed[pilot.name] = pilot
        self._journal.write(events.JobPlaced(key=request.key, pilot=pilot.name, tries=job.tries))
        self.spawn(self._run(job, pilot))

    async def _run(self, job: Job, pilot: Pilot) -> None:
        request = job.request
        outcome = await self.fleet.run(pilot.address, job.launch, request.amounts)
        if self._closing:
            return  # Snakemake has been told that the run is over, or is about to be
        pilot.jobs.discard(request.key)
        self._changed[pilot.name] = pilot
        self._give_back(pilot, request.key)
        if outcome.end is End.LOST:
            await self._lost(job, pilot, outcome)
        self.roster.job_left(pilot)
        retry = outcome.end is End.LOST and not job.losses.given_up
        self._note_end(request, pilot.name, outcome, retry=retry)
        self._summary.started(request.rule, outcome.warm_start, outcome.colder_because)
        self._summary.used(request.amounts["cores"] * pilot.pool.nodes * outcome.wall_s)
        if retry:
            if job.losses.suspect:
                job.request = request = self._alone(request)
            self._ready.push(request, time.time())
        else:
            del self._jobs[request.key]
            if outcome.end in (End.SUCCEEDED, End.FAILED):
                self._estimates.job_ended(request.rule, outcome.wall_s)
            if outcome.end is End.SUCCEEDED:
                usage = Usage(1, outcome.wall_s, outcome.cpu_s, outcome.peak_mem_mb, time.time())
                self._history.learn(request.rule, usage)
            if outcome.end is End.LOST:
                outcome = Outcome(End.LOST, detail=job.losses.reason())
            self._reporter.job_ended(request, outcome, pilot.name)
        self.want_round()

    async def _lost(self, job: Job, pilot: Pilot, outcome: Outcome) -> None:
        """Returns when nothing of this try can run any more: only then may the job start elsewhere."""
        if outcome.detail == PILOT_ENDS:
            if not pilot.draining:
                self._reporter.warn(f"Pilot {pilot.name} was told to end by the batch system; its jobs run elsewhere.")
            self.roster.drain(pilot, "told to end by the batch system")
            job.losses = job.losses.with_one(pilot.name, PILOT_ENDS, crash=False)
        elif pilot.state is PilotState.RUNNING:  # it told so itself, and has ended what was left
            job.losses = job.losses.with_one(pilot.name, outcome.detail, crash=True)
        else:
            await pilot.gone.wait()
            job.losses = job.losses.with_one(pilot.name, pilot.how, crash=pilot.cause is Cause.CRASH)

    def _alone(self, request: Request) -> Request:
        """A job that may be what takes pilots down has its last try on a pilot of its own."""
        whole = [pool.amounts["cores"] for pool in self._fitting(request)]
        return replace(request, amounts={**request.amounts, "cores": max([request.amounts["cores"], *whole])})

    def _give_back(self, pilot: Pilot, key: str) -> None:
        if key in pilot.ahead:
            pilot.ahead.remove(key)  # it was never in the ledger, and one that is has its place
            return
        shape = self._jobs[key].request.shape
        next_ = next((ahead for ahead in pilot.ahead if self._jobs[ahead].request.shape == shape), None)
        if pilot.room is None:
            return
        if next_ is None:
            self.roster.ledger.give_back(pilot.room, key)
        else:
            pilot.ahead.remove(next_)
            self.roster.ledger.pass_on(pilot.room, key, next_, time.time() + LOOK_AHEAD_S)

    # -- pilots ----------------------------------------------------------------------------------------

    def _upkeep(self, now: float) -> None:
        """Request pilots, end idle ones, and set the time of the next look at them."""
        self._upkeep_at = now + UPKEEP_S
        demands = self._demands(now) if self._ready else []
        needed_s = self._needed_s(demands)
        if demands and not self._is_planning:
            self._plan(demands, needed_s, now)
        if self._closing:
            return
        self.roster.end_idle(self._prospects, needed_s, now)
        due = [now + REPLAN_S] if self._ready else []
        due += [at for at in (*self.roster.idle_due(), *self.roster.submissions_due(now)) if at > now]
        if due:
            self._wake_at(min(due), now)

    def _demands(self, now: float) -> list[planner.Demand]:
        """What waits, for the planner."""
        oldest: dict[str, float] = {}
        for pilot in self.roster.pilots.values():
            for key in pilot.jobs:
                job = self._jobs[key]
                oldest[job.request.rule] = min(oldest.get(job.request.rule, now), job.placed_at)
        return self._estimates.demands(self._ready.demands(self.roster.pools.values()), oldest, now)

    def _supplies(self, needed_s: dict[str, float], now: float) -> list[planner.Supply]:
        """What pools have; running jobs of which nothing is known go on as long as the oldest of them has."""
        unknown_s = UNKNOWN_RUNTIME_S
        for pilot in self.roster.pilots.values():
            for job in map(self._jobs.__getitem__, pilot.jobs):
                if self._estimates.expected_s(job.request.rule, job.request.runtime_s) is None:
                    unknown_s = max(unknown_s, now - job.placed_at)
        return self.roster.supplies(needed_s, unknown_s, now)

    def _needed_s(self, demands: list[planner.Demand]) -> dict[str, float]:
        """How much time the shortest waiting job needs, by the pools that may run it."""
        needed_s: dict[str, float] = {}
        for demand in demands:
            request = demand.request
            seconds = 0.0 if request.runtime_s is None else request.runtime_s
            for name in self.roster.pools:
                if request.may_use(name):
                    needed_s[name] = min(needed_s.get(name, seconds), seconds)
        return needed_s

    def _plan(self, demands: list[planner.Demand], needed_s: dict[str, float], now: float) -> None:
        """Request what the greedy answer says, or think longer in a thread where a better one may exist."""
        supplies = self._supplies(needed_s, now)
        if self._is_hopeless(demands, supplies):
            return
        started = time.perf_counter()
        quick = planner.plan(demands, supplies, program=False)
        if quick.more and quick.gap is None:
            self._is_planning = True
            self.spawn(self._plan_longer(demands, supplies, needed_s))
        else:
            self._request(quick, supplies, now, time.perf_counter() - started)

    async def _plan_longer(
        self, demands: list[planner.Demand], supplies: list[planner.Supply], needed_s: dict[str, float]
    ) -> None:
        started = time.perf_counter()
        try:
            answer = await asyncio.to_thread(planner.plan, demands, supplies)
        finally:
            self._is_planning = False
        now = time.time()
        if self._ready and not self._closing:  # else there is nothing left to request them for
            self._request(answer, self._supplies(needed_s, now), now, time.perf_counter() - started)

    def _request(self, answer: planner.Plan, supplies: list[planner.Supply], now: float, seconds: float) -> None:
        """Request the pilots, within what may be requested by now; finding the answer took `seconds`."""
        left = self.roster.submissions_left(now)
        more: dict[str, int] = {}
        for supply in supplies:
            count = min(answer.more.get(supply.pool.name, 0), supply.most, left)
            if count:
                more[supply.pool.name] = count
                left -= count
        if more:
            self._journal.write(events.Planned(more=more, method=answer.method, gap=answer.gap, seconds=seconds))
        for name, count in more.items():
            self.roster.request(self.roster.pools[name], count, now)

    def _is_hopeless(self, demands: list[planner.Demand], supplies: list[planner.Supply]) -> bool:
        """Give up where jobs wait and no pool that could run them has pilots or will get any."""
        dead = {
            supply.pool.name
            for supply in supplies
            if self.roster.starts[supply.pool.name].given_up and not supply.running + supply.coming + supply.ending
        }
        for demand in demands if dead else ():
            usable = [
                supply.pool.name
                for supply in supplies
                if demand.request.may_use(supply.pool.name) and not misfit(demand.request, supply.pool)
            ]
            if usable and dead.issuperset(usable):
                starts = self.roster.starts[usable[0]]
                self._reporter.give_up(NoPilotError(usable[0], starts.failures, starts.words))
                self._closing = True
                return True
        return False

    def _prospects(self, running: dict[str, int]) -> Prospects:
        now = time.time()
        ends: dict[str, float] = {}
        for pilot in self.roster.pilots.values():
            for key in pilot.jobs:
                job = self._jobs[key]
                expected_s = self._estimates.expected_s(job.request.rule, job.request.runtime_s)
                end = job.placed_at + (UNKNOWN_RUNTIME_S if expected_s is None else expected_s)
                ends[job.request.rule] = min(ends.get(job.request.rule, end), end)
        return Prospects(
            is_over=not self._ready and self._estimates.is_all_submitted,
            soon=self._estimates.soon(ends, now + SOON_S),
            running=running,
        )

    def _wake_at(self, at: float, now: float) -> None:
        """Ask for a round when something becomes due that no event announces."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(max(0.0, at - now), self.want_round)

    def job_counts(self) -> str:
        waiting = len(self._ready)
        counts = f"jobs: {len(self._jobs) - waiting} running, {waiting} waiting"
        first = next((group.head for group in self._ready.ranked(time.time()) if group.waiting), None)
        if first is None:
            return counts
        fitting = [pool.name for pool in self._fitting(first)]
        return f"{counts}, {first.rule} for {waits_for(first.amounts, fitting, *self.roster.pilots_by_pool())}"

    def spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self._closing:
            # A defect of ours, or of Dask: better told and ended than a job that waits for ever.
            self._reporter.give_up(DaskjqError(f"internal error: {type(error).__name__}: {str(error)[:300]}"))
