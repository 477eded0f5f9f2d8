"""Turns policy's decisions into futures and pilots, and what happens to them into events.

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
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from ..errors import DaskjqError, NoPilotError
from ..model import events
from ..model.outcome import End, Outcome
from ..model.pool import PilotState, Pool
from ..policy import planner
from ..policy.lifecycle import Starts, idle_pilots
from ..policy.placement import ReadyQueue, Room, place
from . import pending
from .pilots import last_words

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from ..journal import Journal, RunFolder
    from ..model.request import Amounts, Launch, Request, Shape
    from .summary import Summary

LOST_BUDGET = 3
"""So many pilots may be lost under a job before it is reported as failed."""

REPLAN_S = 15.0
"""While jobs wait, think again about pilots this often: running jobs may turn out longer than expected."""

LOOK_AHEAD_S = 0.25
"""Jobs that take less than this keep a second one of their kind at the pilot, to start without a round trip."""


class Reporter(Protocol):
    """Hears what Snakemake and the user have to know. Called in the loop; must not block."""

    def job_ended(self, request: Request, outcome: Outcome, pilot: str) -> None: ...

    def tell(self, text: str) -> None: ...

    def warn(self, text: str) -> None: ...

    def give_up(self, error: DaskjqError) -> None: ...


class Pilots(Protocol):
    """What the dispatcher needs of a `Fleet`."""

    async def request(self, pilot: str, pool: Pool) -> None: ...

    async def end(self, pilot: str) -> None: ...

    async def run(self, address: str, launch: Launch, amounts: Amounts) -> Outcome: ...


Fleet = TypeVar("Fleet", bound=Pilots)


@dataclass(slots=True)
class Pilot:
    name: str
    pool: Pool
    state: PilotState = PilotState.REQUESTED
    batch_id: str = ""
    address: str = ""
    connected_at: float = 0.0
    idle_since: float = 0.0
    room: Room | None = None
    jobs: set[str] = field(default_factory=set)
    ahead: int = 0  # of `jobs`, how many are not in the ledger: they start when another of their shape ends
    ahead_shape: Shape | None = None

    @property
    def system(self) -> str:
        return self.pool.system


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
        open_fleet: Callable[[Dispatcher[Fleet]], Fleet],
        reporter: Reporter,
        journal: Journal,
        folder: RunFolder,
        summary: Summary,
    ) -> None:
        self._pools = {pool.name: pool for pool in pools}
        self.fleet = open_fleet(self)
        self._reporter = reporter
        self._journal = journal
        self._folder = folder
        self._summary = summary
        self._ready = ReadyQueue()
        self._jobs: dict[str, Job] = {}
        self._pilots: dict[str, Pilot] = {}
        self._starts = dict.fromkeys(self._pools, Starts())
        self._seen: dict[str, tuple[int, float]] = {}  # rule -> jobs ended, their wall seconds
        self._serial = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._round_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._query: asyncio.Task[None] | None = None
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
                )
            )
        self._want_round()

    async def close(self) -> None:
        """Place, plan and report nothing any more."""
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        if self._query is not None:
            self._query.cancel()
        for pilot in self._pilots.values():
            if pilot.state in (PilotState.REQUESTED, PilotState.PENDING, PilotState.RUNNING):
                self._end(pilot, "run ended")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- what pilots do (FleetListener) ----------------------------------------------------------------

    def pilot_submitted(self, pilot: str, batch_id: str) -> None:
        known = self._pilots[pilot]
        known.batch_id = batch_id
        if known.state is PilotState.REQUESTED:
            known.state = PilotState.PENDING
        self._journal.write(events.PilotSubmitted(pilot=pilot, batch_id=batch_id))
        if known.pool.system != "local" and (self._query is None or self._query.done()):
            self._query = asyncio.create_task(pending.watch(self._pending, self._pilot_waits, self._pilot_died))

    def pilot_start_failed(self, pilot: str, words: str) -> None:
        known = self._pilots[pilot]
        if known.state not in (PilotState.REQUESTED, PilotState.PENDING):
            return  # it ran, or was told to end
        known.state = PilotState.LOST
        now = time.time()
        starts = self._starts[known.pool.name].failed(words, now)
        self._starts[known.pool.name] = starts
        retry_in_s = 0.0 if starts.given_up else max(0.0, starts.not_before - now)
        self._journal.write(events.PilotFailed(pilot=pilot, words=words, retry_in_s=retry_in_s))
        if not self._closing:
            again = "" if starts.given_up else f" Next try in {retry_in_s:.0f} s."
            self._reporter.warn(f"Pilot {pilot} could not be started: {words or 'no reason given'}.{again}")
            self._spawn(self.fleet.end(pilot))
            self._want_round()

    def pilot_connected(self, pilot: str, address: str, host: str) -> None:
        known = self._pilots.get(pilot)
        if known is None or known.state not in (PilotState.REQUESTED, PilotState.PENDING):
            return
        now = time.time()
        pool = known.pool
        known.state = PilotState.RUNNING
        known.address = address
        known.connected_at = known.idle_since = now
        ends_at = None if pool.walltime_s is None else now + pool.walltime_s
        slack_s = max(60.0, 0.05 * (pool.walltime_s or 0))
        known.room = Room(pilot, pool.name, dict(pool.amounts), ends_at, slack_s)
        self._starts[pool.name] = Starts()
        self._journal.write(events.PilotStarted(pilot=pilot, host=host, amounts=pool.amounts))
        if pool.system != "local":
            self._reporter.tell(f"Pilot {pilot} runs on {host}. {self._count()}")
        self._want_round()

    def pilot_disconnected(self, pilot: str) -> None:
        known = self._pilots.get(pilot)
        if known is None or known.state is not PilotState.RUNNING or self._closing:
            return
        self._leave(known, PilotState.LOST)
        self._journal.write(events.PilotLost(pilot=pilot, jobs=sorted(known.jobs)))
        taken = f"; its {len(known.jobs)} running jobs go back to the queue" if known.jobs else ""
        self._reporter.warn(f"Pilot {pilot} was lost{taken}. {self._count()}")
        # Its jobs end as lost through their futures. The batch job is cancelled in case it still runs.
        self._spawn(self.fleet.end(pilot))
        self._want_round()

    # -- rounds ----------------------------------------------------------------------------------------

    def _want_round(self) -> None:
        if not self._round_due and not self._closing:
            self._round_due = True
            asyncio.get_running_loop().call_soon(self._round)

    def _round(self) -> None:
        self._round_due = False
        if self._closing:
            return
        now = time.time()
        running = {name: pilot for name, pilot in self._pilots.items() if pilot.state is PilotState.RUNNING}
        rooms = [pilot.room for pilot in running.values() if pilot.room is not None]
        for request, name in place(self._ready, rooms, now):
            self._start_job(request, running[name], now)
        for pilot in running.values():
            self._look_ahead(pilot, now)
        self._plan(now)
        self._end_idle(running, now)
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
        self._spawn(self._run(job, pilot))

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
        self._want_round()

    def _plan(self, now: float) -> None:
        if not self._ready:
            return
        shapes = list(self._ready.shapes())
        running: Counter[str] = Counter()
        coming: Counter[str] = Counter()
        ending: Counter[str] = Counter()
        for pilot in self._pilots.values():
            if pilot.room is not None:
                useful = any(pilot.room.can_end(request, now) for request, _ in shapes)
                (running if useful else ending)[pilot.pool.name] += 1
            elif pilot.state in (PilotState.REQUESTED, PilotState.PENDING):
                coming[pilot.pool.name] += 1
        for name, starts in self._starts.items():
            if starts.given_up and not running[name] and not coming[name] and not ending[name]:
                self._reporter.give_up(NoPilotError(name, starts.failures, starts.words))
                self._closing = True
                return
        expected = self._expected_seconds(now)
        demands = [planner.Demand(request, jobs, expected(request)) for request, jobs in shapes]
        wanted = planner.plan(demands, self._pools.values(), running, coming, ending)
        for name, more in wanted.items():
            if now >= self._starts[name].not_before and not self._starts[name].given_up:
                self._request_pilots(self._pools[name], more)

    def _expected_seconds(self, now: float) -> Callable[[Request], float]:
        """Seconds that a job of a rule takes.

        As measured in this run, else as stated, else a guess; never less than what running ones have taken.
        """
        ages: defaultdict[str, float] = defaultdict(float)
        for pilot in self._pilots.values():
            for key in pilot.jobs:
                job = self._jobs[key]
                ages[job.request.rule] = max(ages[job.request.rule], now - job.placed_at)

        def expected(request: Request) -> float:
            count, total = self._seen.get(request.rule, (0, 0.0))
            guess = total / count if count else float(request.runtime_s or planner.UNKNOWN_RUNTIME_S)
            return max(guess, ages[request.rule])

        return expected

    def _request_pilots(self, pool: Pool, count: int) -> None:
        for _ in range(count):
            self._serial += 1
            pilot = Pilot(f"{pool.name}-{self._serial}", pool)
            self._pilots[pilot.name] = pilot
            self._journal.write(events.PilotRequested(pilot=pilot.name, pool=pool.name))
            self._spawn(self.fleet.request(pilot.name, pool))
        if pool.system != "local":
            self._reporter.tell(f"Requesting {count} pilot{'s' * (count > 1)} of pool {pool.name}. {self._count()}")

    def _end_idle(self, running: dict[str, Pilot], now: float) -> None:
        for pool in self._pools.values():
            if pool.system == "local":
                continue  # it costs nothing to keep, and the next job starts at once
            idle = {name: pilot.idle_since for name, pilot in running.items() if pilot.pool is pool and not pilot.jobs}
            for name in idle_pilots(idle, pool.idle_timeout_s, now):
                self._end(running[name], "idle")
                self._spawn(self.fleet.end(name))
                self._reporter.tell(f"Pilot {name} had nothing to do and ends. {self._count()}")

    def _end(self, pilot: Pilot, why: str) -> None:
        self._leave(pilot, PilotState.ENDED)
        self._journal.write(events.PilotEnded(pilot=pilot.name, why=why))

    def _leave(self, pilot: Pilot, state: PilotState) -> None:
        if pilot.state is PilotState.RUNNING:
            cores = pilot.pool.amounts["cores"]
            self._summary.pilot_left(cores * (time.time() - pilot.connected_at))
        pilot.state = state
        pilot.room = None

    def _set_timer(self, now: float) -> None:
        """Wake up when something becomes due that no event announces."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = []
        if self._ready:
            due.append(now + REPLAN_S)
            due += [starts.not_before for starts in self._starts.values() if starts.not_before > now]
        due += [
            pilot.idle_since + pilot.pool.idle_timeout_s
            for pilot in self._pilots.values()
            if pilot.state is PilotState.RUNNING and not pilot.jobs and pilot.pool.system != "local"
        ]
        if due:
            delay = max(0.05, min(due) - now)
            self._timer = asyncio.get_running_loop().call_later(delay, self._want_round)

    # -- pilots that the batch system keeps --------------------------------------------------------------

    def _pending(self) -> list[Pilot]:
        return [p for p in self._pilots.values() if p.state is PilotState.PENDING and p.system != "local"]

    def _pilot_waits(self, pilot: str, reason: str) -> None:
        self._reporter.tell(f"Pilot {pilot} waits in the queue: {reason}.")

    def _pilot_died(self, pilot: str) -> None:
        batch_id = self._pilots[pilot].batch_id
        logs = sorted(self._folder.pilot_logs.glob(f"*{batch_id}*"), key=lambda path: path.suffix != ".err")
        words = next((words for log in logs if (words := last_words(log))), "its log says nothing")
        self.pilot_start_failed(pilot, f"batch job {batch_id} ended before it connected: {words}")

    def _count(self) -> str:
        """The status line: how many pilots there are, and how many jobs wait and run."""
        states = Counter(pilot.state for pilot in self._pilots.values())
        waiting = len(self._ready)
        return (
            f"(pilots: {states[PilotState.RUNNING]} running, "
            f"{states[PilotState.PENDING] + states[PilotState.REQUESTED]} queued; "
            f"jobs: {len(self._jobs) - waiting} running, {waiting} waiting)"
        )

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self._closing:
            # A defect of ours, or of Dask: better told and ended than a job that waits for ever.
            self._reporter.give_up(DaskjqError(f"internal error: {type(error).__name__}: {str(error)[:300]}"))
