"""The run's pilots: which there are, in what state, and how they are requested and ended.

Hears from the fleet what becomes of them (`FleetListener`) and asks the dispatcher for a round after each
change. What must hold: a pilot's state only goes forward (`PilotState`), each request ends in one of
connected, failed or ended, and no pilot outlives the run.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from .. import batch
from ..batch.base import Cause
from ..model import events
from ..model.pool import COMING, PilotState, Pool
from ..policy.idle import NO_MORE_WORK_S, IdlePilot, Prospects, idle_pilots
from ..policy.lifecycle import Starts
from ..policy.losses import bad_hosts
from ..policy.planner import Supply
from ..policy.rooms import Ledger, Room
from ..worker.lease import GRACE_S
from . import pending
from .pilots import last_words

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping

    from ..batch.base import BatchSystem
    from ..errors import DaskjqError
    from ..journal import Journal, RunFolder
    from ..model.outcome import Outcome
    from ..model.request import Amounts, Launch, Request
    from .summary import Summary


SUBMISSIONS_A_MINUTE = 30
"""So many pilots at most are requested within a minute: batch systems are shared."""


FENCE_S = 5.0
"""After a pilot has disconnected, its jobs go on for less than this: whoever notices ends them (`worker.lease`)."""

CONNECT_S = 30.0
"""A pilot connects within this time of its batch job's start, when its walltime begins."""

WAKE_S = GRACE_S + 1.0
"""A rule host whose pilot has died ends its jobs within this time, also if it was stopped before."""

PATIENCE_S = 60.0
"""So long the batch system may list a lost pilot after it was cancelled; a node that is down may stay listed."""


class Reporter(Protocol):
    """Hears what Snakemake and the user have to know. Called in the loop; must not block."""

    def job_ended(self, request: Request, outcome: Outcome, pilot: str) -> None: ...

    def tell(self, text: str) -> None: ...

    def warn(self, text: str) -> None: ...

    def give_up(self, error: DaskjqError) -> None: ...


class Pilots(Protocol):
    """What roster and dispatcher need of a `Fleet`."""

    async def request(self, pilot: str, pool: Pool, excluded: tuple[str, ...]) -> None: ...

    async def end(self, pilot: str) -> None: ...

    async def run(self, address: str, launch: Launch, amounts: Amounts) -> Outcome: ...


class Rounds(Protocol):
    """What the roster needs of the dispatcher."""

    def want_round(self) -> None: ...

    def spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]: ...

    def job_counts(self) -> str: ...


Fleet = TypeVar("Fleet", bound=Pilots)


@dataclass(slots=True)
class Pilot:
    name: str
    pool: Pool
    state: PilotState = PilotState.REQUESTED
    batch_id: str = ""
    address: str = ""
    host: str = ""
    connected_at: float = 0.0
    idle_since: float = 0.0
    room: Room | None = None
    jobs: set[str] = field(default_factory=set)
    ahead: list[str] = field(default_factory=list)  # of `jobs`, those that start when another of their shape ends
    draining: str = ""  # why it gets no more jobs, and ends with its last one
    how: str = ""  # how it ended, in the batch system's words
    cause: Cause = Cause.UNKNOWN  # whether one of its jobs may be the reason for that
    gone: asyncio.Event = field(default_factory=asyncio.Event)  # it was lost, and whatever it ran has ended

    @property
    def system(self) -> BatchSystem:
        return batch.system(self.pool.system)


class Roster(Generic[Fleet]):
    def __init__(
        self,
        pools: Iterable[Pool],
        open_fleet: Callable[[Roster[Fleet]], Fleet],
        rounds: Rounds,
        reporter: Reporter,
        journal: Journal,
        folder: RunFolder,
        summary: Summary,
    ) -> None:
        self.pools = {pool.name: pool for pool in pools}
        self.pilots: dict[str, Pilot] = {}
        self.starts = dict.fromkeys(self.pools, Starts())
        self.ledger = Ledger()
        self.fleet = open_fleet(self)
        self._rounds = rounds
        self._reporter = reporter
        self._journal = journal
        self._folder = folder
        self._summary = summary
        self._serial = 0
        self._crashes: Counter[str] = Counter()  # by host
        self._bad_hosts: tuple[str, ...] = ()
        self._short: set[str] = set()  # pools whose pilots were told to have fewer cores than they offer
        self._requested_at: deque[float] = deque(maxlen=SUBMISSIONS_A_MINUTE)
        self._query: asyncio.Task[None] | None = None
        self._closing = False

    # -- what the dispatcher asks --------------------------------------------------------------------------

    def request(self, pool: Pool, count: int, now: float) -> None:
        for _ in range(count):
            self._serial += 1
            pilot = Pilot(f"{pool.name}-{self._serial}", pool)
            self.pilots[pilot.name] = pilot
            self._requested_at.append(now)
            self._journal.write(events.PilotRequested(pilot=pilot.name, pool=pool.name))
            self._rounds.spawn(self.fleet.request(pilot.name, pool, self._bad_hosts))
        if batch.system(pool.system).queues:
            self._reporter.tell(f"Requesting {count} pilot{'s' * (count > 1)} of pool {pool.name}. {self._count()}")

    def supplies(self, needed_s: Mapping[str, float], unknown_s: float, now: float) -> list[Supply]:
        """What the planner has to know of each pool (see `Supply.of`)."""
        rooms, coming = self._by_pool()
        return [
            Supply.of(
                pool,
                rooms[name],
                coming[name],
                now,
                unknown_s=unknown_s,
                needed_s=needed_s.get(name, 0.0),
                submissions_left=self.submissions_left(now, name),
            )
            for name, pool in self.pools.items()
        ]

    def submissions_left(self, now: float, pool: str | None = None) -> int:
        """How many pilots may be requested now, of all pools or of one."""
        if pool is not None and (now < self.starts[pool].not_before or self.starts[pool].given_up):
            return 0
        return SUBMISSIONS_A_MINUTE - sum(now - at < 60 for at in self._requested_at)

    def submissions_due(self, now: float) -> list[float]:
        """When more may be requested than now, seconds since the epoch."""
        due = [starts.not_before for starts in self.starts.values() if starts.not_before > now]
        if len(self._requested_at) == SUBMISSIONS_A_MINUTE and now - self._requested_at[0] < 60:
            due.append(self._requested_at[0] + 60)
        return due

    def end_idle(
        self, prospects: Callable[[dict[str, int]], Prospects], needed_s: Mapping[str, float], now: float
    ) -> None:
        """End the pilots that `policy.idle` says; a local one costs nothing to keep, so it stays."""
        running = [pilot for pilot in self.pilots.values() if pilot.room is not None and pilot.system.queues]
        idle = [
            IdlePilot(
                pilot.name,
                pilot.pool,
                pilot.idle_since,
                pilot.room is not None
                and pilot.pool.name in needed_s
                and not pilot.room.has_time(needed_s[pilot.pool.name], now),
            )
            for pilot in running
            if not pilot.jobs
        ]
        if not idle:
            return
        counts = Counter(pilot.pool.name for pilot in running)
        for name, why in idle_pilots(idle, prospects(dict(counts)), now):
            self._end(self.pilots[name], why)
            self._rounds.spawn(self.fleet.end(name))
            self._reporter.tell(f"Pilot {name} had nothing to do and ends ({why}). {self._count()}")

    def idle_due(self) -> list[float]:
        """When idle pilots may have to end, seconds since the epoch."""
        idle = [p for p in self.pilots.values() if p.room is not None and not p.jobs and p.system.queues]
        return [
            pilot.idle_since + wait_s
            for pilot in idle
            for wait_s in (min(NO_MORE_WORK_S, pilot.pool.idle_timeout_s), pilot.pool.idle_timeout_s)
        ]

    def close(self) -> None:
        """Request nothing any more; all pilots count as ended. The fleet ends them with itself."""
        self._closing = True
        if self._query is not None:
            self._query.cancel()
        for pilot in self.pilots.values():
            if pilot.state in (*COMING, PilotState.RUNNING):
                self._end(pilot, "run ended")

    # -- what pilots do (FleetListener) ----------------------------------------------------------------------

    def pilot_submitted(self, pilot: str, batch_id: str) -> None:
        known = self.pilots[pilot]
        known.batch_id = batch_id
        if known.state is PilotState.REQUESTED:
            known.state = PilotState.PENDING
        self._journal.write(events.PilotSubmitted(pilot=pilot, batch_id=batch_id))
        if known.system.queues and (self._query is None or self._query.done()):
            self._query = self._rounds.spawn(
                pending.watch(
                    self._pending, self._pilot_waits, self._pilot_died, self._pilot_is_held, self._pilot_is_broken
                )
            )

    def pilot_start_failed(self, pilot: str, words: str) -> None:
        known = self.pilots[pilot]
        if known.state not in COMING:
            return  # it ran, or was told to end
        known.state = PilotState.LOST
        now = time.time()
        before = self.starts[known.pool.name]
        starts = before.failed(words, now, random.random())
        self.starts[known.pool.name] = starts
        retry_in_s = 0.0 if starts.given_up else max(0.0, starts.not_before - now)
        self._journal.write(events.PilotFailed(pilot=pilot, words=words, retry_in_s=retry_in_s))
        if not self._closing:
            self._tell_failure(pilot, before, starts, retry_in_s)
            self._rounds.spawn(self.fleet.end(pilot))
            self._rounds.want_round()

    def _tell_failure(self, pilot: str, before: Starts, starts: Starts, retry_in_s: float) -> None:
        if starts.full and before.full:
            return  # told once
        pool = self.pilots[pilot].pool.name
        if starts.full:
            self._reporter.warn(
                f"The queue takes no more pilots of pool {pool} for now: {starts.words}. It is asked again, "
                f"at first in {retry_in_s:.0f} s and then ever more seldom. {self._count()}"
            )
            return
        again = f" Next try in {retry_in_s:.0f} s."
        if starts.pauses:
            again = (
                f" Pool {pool} pauses after {starts.failures} failed starts; next try in {retry_in_s / 60:.0f} minutes."
            )
        if starts.given_up:
            again = f" Pool {pool} gets no more pilots; other pools go on." if len(self.pools) > 1 else ""
        words = starts.words.rstrip(".") or "no reason given"
        self._reporter.warn(f"Pilot {pilot} could not be started: {words}.{again}")

    def pilot_connected(self, pilot: str, address: str, host: str) -> None:
        known = self.pilots.get(pilot)
        if known is None or known.state not in COMING:
            # Its submit command was killed before it could answer, or the batch system has started it again.
            self._rounds.spawn(self.fleet.end(pilot))
            return
        now = time.time()
        pool = known.pool
        known.state = PilotState.RUNNING
        known.address = address
        known.connected_at = known.idle_since = now
        ends_at = None if pool.walltime_s is None else now + pool.walltime_s
        known.room = Room(pilot, pool.name, dict(pool.amounts), ends_at, pool.slack_s, pool.walltime_s)
        self.ledger.add(known.room)
        self.starts[pool.name] = Starts(has_worked=True)
        self._journal.write(events.PilotStarted(pilot=pilot, host=host, amounts=pool.amounts))
        known.host = host
        if host in self._bad_hosts:
            self.drain(known, f"host {host} is excluded")
        elif known.system.queues:
            self._reporter.tell(f"Pilot {pilot} runs on {host}. {self._count()}")
        self._rounds.want_round()

    def pilot_granted(self, pilot: str, cores: int) -> None:
        """The batch system gave it so many cores; told once a pool where they are fewer than it offers."""
        known = self.pilots.get(pilot)
        pool = known.pool if known is not None and known.system.queues else None
        if pool is not None and cores < (pool.cores or 0) and pool.name not in self._short:
            self._short.add(pool.name)
            why = batch.system(pool.system).shortfall(pool)
            self._reporter.warn(
                f"Pilot {pilot} was granted {cores} core{'s' * (cores != 1)}, but its pool {pool.name} offers "
                f"{pool.cores} to jobs, which share what there is (told once a pool){f': {why}' if why else ''}."
            )

    def pilot_shared(self, pilot: str, others: Amounts) -> None:
        """Others use so much of it now (`guest`)."""
        room = self.pilots[pilot].room
        if room is not None and self.ledger.occupy(room, others):
            self._rounds.want_round()

    def pilot_disconnected(self, pilot: str) -> None:
        known = self.pilots.get(pilot)
        if known is None or known.state is not PilotState.RUNNING or self._closing:
            return
        self._leave(known, PilotState.LOST)
        self._journal.write(events.PilotLost(pilot=pilot, jobs=sorted(known.jobs)))
        taken = f"; its {len(known.jobs)} running jobs go back to the queue" if known.jobs else ""
        self._reporter.warn(f"Pilot {pilot} was lost{taken}. {self._count()}")
        self._rounds.spawn(self._bury(known))  # its jobs end as lost through their futures, and wait for that
        self._rounds.want_round()

    async def _bury(self, pilot: Pilot) -> None:
        """Make sure that nothing of a lost pilot runs any more, and learn how it ended."""
        dead_at = time.monotonic() + FENCE_S
        in_batch = pilot.system.queues and bool(pilot.batch_id)
        lost_at, walltime_s = time.time(), pilot.pool.walltime_s
        ended = await pilot.system.how_ended(pilot.batch_id, FENCE_S)
        pilot.how, pilot.cause = ended.words, ended.cause
        if pilot.cause is Cause.UNKNOWN and walltime_s and lost_at - pilot.connected_at >= walltime_s - CONNECT_S:
            pilot.how, pilot.cause = pilot.how or "over its walltime", Cause.NO_FAULT
        await self.fleet.end(pilot.name)
        if in_batch:
            await pilot.system.until_gone(pilot.batch_id, PATIENCE_S)
        # A pilot that was stopped has died just now, and so woken hosts that were stopped with it.
        await asyncio.sleep(max(dead_at - time.monotonic(), WAKE_S))
        self._journal.write(events.PilotGone(pilot=pilot.name, host=pilot.host, how=pilot.how))
        if pilot.how:
            self._reporter.tell(f"Pilot {pilot.name} ended as {pilot.how}.")
        if in_batch and pilot.cause is Cause.CRASH:
            self._note_crash(pilot.host)
        pilot.gone.set()
        self._rounds.want_round()

    def _note_crash(self, host: str) -> None:
        """Exclude hosts on which pilots crash again and again."""
        self._crashes[host] += 1
        before = self._bad_hosts
        self._bad_hosts = tuple(bad_hosts(self._crashes, {pilot.host for pilot in self.pilots.values() if pilot.host}))
        for bad in set(self._bad_hosts).difference(before):
            self._journal.write(events.HostExcluded(host=bad, crashes=self._crashes[bad]))
            self._reporter.warn(f"{self._crashes[bad]} pilots crashed on host {bad}: it gets no more of them.")
            for pilot in list(self.pilots.values()):
                if pilot.host == bad and pilot.state is PilotState.RUNNING:
                    self.drain(pilot, f"host {bad} is excluded")

    def drain(self, pilot: Pilot, why: str) -> None:
        """Place nothing more on a running pilot; it ends with its last job."""
        pilot.draining = pilot.draining or why
        self._close_room(pilot)
        self.job_left(pilot)

    def job_left(self, pilot: Pilot) -> None:
        """One of the pilot's jobs has ended."""
        if pilot.jobs or pilot.state is not PilotState.RUNNING:
            return
        pilot.idle_since = time.time()
        if pilot.draining:
            self._end(pilot, pilot.draining)
            self._rounds.spawn(self.fleet.end(pilot.name))

    # -- pilots that the batch system keeps --------------------------------------------------------------------

    def _pending(self) -> list[Pilot]:
        return [p for p in self.pilots.values() if p.state is PilotState.PENDING and p.system.queues]

    def _pilot_waits(self, pilot: str, reason: str) -> None:
        self._journal.write(events.PilotWaits(pilot=pilot, reason=reason))
        if reason:
            self._reporter.tell(f"Pilot {pilot} waits in the queue: {reason.rstrip('.')}.")

    def _pilot_is_held(self, pilot: str, state: str) -> None:
        self._journal.write(events.PilotWaits(pilot=pilot, reason=state))
        batch_id = self.pilots[pilot].batch_id
        self._reporter.warn(
            f"Pilot {pilot} is held in the queue ({state}): it starts when somebody releases batch job {batch_id}; "
            f"if you cancel it, another is submitted. {self._count()}"
        )

    def _pilot_is_broken(self, pilot: str, reason: str) -> None:
        self.pilot_start_failed(pilot, f"batch job {self.pilots[pilot].batch_id} failed to start: {reason}")

    def _pilot_died(self, pilot: str) -> None:
        batch_id = self.pilots[pilot].batch_id
        logs = sorted(self._folder.pilot_logs.glob(f"*{batch_id}*"), key=lambda path: path.suffix != ".err")
        words = next((words for log in logs if (words := last_words(log))), "its log says nothing")
        self.pilot_start_failed(pilot, f"batch job {batch_id} ended before it connected: {words}")

    # -- the end of a pilot --------------------------------------------------------------------------------------

    def _end(self, pilot: Pilot, why: str) -> None:
        self._leave(pilot, PilotState.ENDED)
        self._journal.write(events.PilotEnded(pilot=pilot.name, why=why))

    def _leave(self, pilot: Pilot, state: PilotState) -> None:
        if pilot.state is PilotState.RUNNING:
            self._summary.pilot_left(pilot.pool.all_cores * (time.time() - pilot.connected_at))
        pilot.state = state
        self._close_room(pilot)

    def _close_room(self, pilot: Pilot) -> None:
        if pilot.room is not None:
            self.ledger.remove(pilot.room)
            pilot.room = None

    def pilots_by_pool(self) -> tuple[dict[str, list[Amounts]], Counter[str]]:
        """What running pilots have free, and how many are requested or queued."""
        rooms, coming = self._by_pool()
        return {name: [room.free for room in some] for name, some in rooms.items()}, coming

    def _by_pool(self) -> tuple[defaultdict[str, list[Room]], Counter[str]]:
        """The rooms of running pilots, and how many are requested or queued."""
        rooms: defaultdict[str, list[Room]] = defaultdict(list)
        coming: Counter[str] = Counter()
        for pilot in self.pilots.values():
            if pilot.room is not None:
                rooms[pilot.pool.name].append(pilot.room)
            coming[pilot.pool.name] += pilot.state in COMING
        return rooms, coming

    def _count(self) -> str:
        """The status line: how many pilots there are, how many jobs wait and run, and what the next waits for."""
        states = Counter(pilot.state for pilot in self.pilots.values())
        queued = sum(states[state] for state in COMING)
        return f"(pilots: {states[PilotState.RUNNING]} running, {queued} queued; {self._rounds.job_counts()})"
