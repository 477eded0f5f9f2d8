"""The controller's pilots: which there are, what they have free, and when more are requested or some are ended.

What must hold: a pilot's state only goes forward (`PilotLife`), each request ends in one of connected, failed or
ended, and only a running pilot that is not draining is in the ledger.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..batch import system
from ..batch.base import Cause, Ended
from ..journal import events
from ..model.pool import PilotState
from . import messages
from .budget import NO_LIMIT, Budget, Spending
from .idle import NO_MORE_WORK_S, IdlePilot, Prospects, idle_pilots
from .lifecycle import Starts
from .losses import bad_hosts
from .pilot_life import PilotLife
from .planner import Supply
from .queue_watch import News, QueueWatch
from .rooms import Ledger, Room

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Mapping

    from ..model.pool import Pool
    from ..model.request import Amounts, Request
    from .runs import Runs

SUBMISSIONS_A_MINUTE = 30
"""So many pilots at most are requested within a minute: batch systems are shared."""

CONNECT_S = 30.0
"""A pilot connects within this time of its batch job's start, when its walltime begins."""


@dataclass(slots=True)
class Pilot(PilotLife):
    """A pilot with its jobs.

    Attributes
    ----------
    room : what it has to give; None where it gets no jobs (any more).
    jobs : the keys of those that it has got, also of those that were lost with it until it is `gone`.
    ahead : of `jobs`, those that start when another of their shape ends.
    draining : why it gets no more jobs, and ends with its last one; "" where it does not.
    gone : it was lost, and whatever it ran has ended.
    """

    idle_since: float = 0.0
    room: Room | None = None
    jobs: set[str] = field(default_factory=set)
    ahead: list[str] = field(default_factory=list)
    draining: str = ""
    gone: Ended | None = None

    @property
    def queues(self) -> bool:
        """True if it waits in a batch system's queue and costs something."""
        return system(self.pool.system).queues


class Pilots:
    """All pilots of a controller. Its methods add what is to be done to `out`."""

    def __init__(
        self, pools: Iterable[Pool], out: messages.Outbox, runs: Runs, jitter: random.Random, budget: Budget = NO_LIMIT
    ) -> None:
        self.spending = Spending(budget)
        self.pools = {pool.name: pool for pool in pools}
        self.starts = dict.fromkeys(self.pools, Starts())
        self.ledger = Ledger()
        self.watch = QueueWatch()
        self._pilots: dict[str, Pilot] = {}
        self._out = out
        self._runs = runs
        self._jitter = jitter
        self._serial = 0
        self._crashes: Counter[str] = Counter()  # by host
        self._bad_hosts: tuple[str, ...] = ()
        self._short: set[str] = set()  # pools whose pilots were told to have fewer cores than they offer
        self._requested_at: deque[float] = deque(maxlen=SUBMISSIONS_A_MINUTE)

    def __len__(self) -> int:
        return len(self._pilots)

    def __getitem__(self, name: str) -> Pilot:
        return self._pilots[name]

    def get(self, name: str) -> Pilot | None:
        return self._pilots.get(name)

    def all(self) -> Iterable[Pilot]:
        return self._pilots.values()

    # -- requesting and ending ----------------------------------------------------------------------------------

    def request(self, pool: Pool, count: int, now: float) -> None:
        for _ in range(count):
            self._serial += 1
            pilot = Pilot(f"{pool.name}-{self._serial}", pool, now)
            self._pilots[pilot.name] = pilot
            self._requested_at.append(now)
            self._out.record(events.PilotRequested(pilot=pilot.name, pool=pool.name))
            self._out.add(messages.RequestPilot(pilot.name, pool, self._bad_hosts))
        if system(pool.system).queues:
            self._out.tell(f"Requesting {count} pilot{'s' * (count > 1)} of pool {pool.name}.")

    def supplies(self, shortest: Mapping[str, Request], unknown_s: float, now: float) -> list[Supply]:
        """What the planner has to know of each pool (see `Supply.of`)."""
        rooms, coming = self.by_pool()
        return [
            Supply.of(
                pool,
                rooms[name],
                coming[name],
                now,
                unknown_s=unknown_s,
                shortest=shortest.get(name),
                submissions_left=self.submissions_left(now, name),
            )
            for name, pool in self.pools.items()
        ]

    def submissions_left(self, now: float, pool: str | None = None) -> int:
        """How many pilots may be requested now, of all pools or of one."""
        if self.is_budget_spent(now):
            return 0
        left = SUBMISSIONS_A_MINUTE - sum(now - at < 60 for at in self._requested_at)
        if pool is None:
            return left
        if now < self.starts[pool].not_before or self.starts[pool].given_up:
            return 0
        return int(min(left, self.cores_left() // self.pools[pool].all_cores))

    def cores_left(self) -> float:
        """How many cores may be requested; inf for any."""
        return self.spending.cores_left(self._pilots.values())

    def is_budget_spent(self, now: float) -> bool:
        """Whether pilots have used all core-hours that they may; told once."""
        is_over = self.spending.is_over(self._pilots.values(), now)
        if is_over and (words := self.spending.words()):
            self._out.tell(words, warning=True)
        return is_over

    def end_idle(
        self, prospects: Callable[[dict[str, int]], Prospects], shortest: Mapping[str, Request], now: float
    ) -> None:
        """End the pilots that `policy.idle` says; one that costs nothing to keep stays."""
        running = [pilot for pilot in self._pilots.values() if pilot.room is not None and pilot.queues]
        idle = [
            IdlePilot(
                pilot.name,
                pilot.pool,
                pilot.idle_since,
                pilot.room is not None and pilot.room.is_spent(shortest.get(pilot.pool.name), now),
            )
            for pilot in running
            if not pilot.jobs
        ]
        if not idle:
            return
        counts = Counter(pilot.pool.name for pilot in running)
        for name, why in idle_pilots(idle, prospects(dict(counts)), now, self._runs.keep_s):
            self._end(self._pilots[name], why, now)
            self._out.tell(f"Pilot {name} had nothing to do and ends ({why}).")

    def due(self, now: float) -> list[float]:
        """When something has to be thought about that no event announces: idle pilots, and limits of submissions."""
        idle = [p for p in self._pilots.values() if p.room is not None and not p.jobs and p.queues]
        due = [
            pilot.idle_since + wait_s
            for pilot in idle
            for wait_s in (min(NO_MORE_WORK_S, pilot.pool.idle_timeout_s), pilot.pool.idle_timeout_s, self._runs.keep_s)
        ]
        due += [starts.not_before for starts in self.starts.values()]
        if len(self._requested_at) == SUBMISSIONS_A_MINUTE:
            due.append(self._requested_at[0] + 60)
        return [at for at in due if at > now]

    def close(self, now: float) -> None:
        """All pilots count as ended; whoever drives the core ends them with the run."""
        for pilot in self._pilots.values():
            if pilot.is_coming or pilot.is_running:
                self._leave(pilot, now)
                pilot.ended("run ended")
                self._out.record(events.PilotEnded(pilot=pilot.name, why="run ended"))

    # -- what becomes of them -----------------------------------------------------------------------------------

    def submitted(self, name: str, batch_id: str, now: float) -> None:
        pilot = self._pilots.get(name)
        if pilot is None:
            return
        pilot.submitted(batch_id)
        self._out.record(events.PilotSubmitted(pilot=name, batch_id=batch_id))
        if pilot.queues:
            self.watch.pilot_submitted(now)

    def start_failed(self, name: str, words: str, now: float) -> None:
        pilot = self._pilots.get(name)
        if pilot is None or not pilot.is_coming:
            return
        pool = pilot.pool.name
        words = words.rstrip(" .") or "no reason given"
        before = self.starts[pool]
        starts = self.starts[pool] = before.failed(words, now, self._jitter.random())
        retry_in_s = 0.0 if starts.given_up else max(0.0, starts.not_before - now)
        pilot.start_failed(words, now + retry_in_s if retry_in_s else 0.0)
        self._out.record(events.PilotFailed(pilot=name, words=words, retry_in_s=retry_in_s))
        self._tell_failure(pilot, before, starts, retry_in_s)
        self._out.add(messages.EndPilot(name))

    def _tell_failure(self, pilot: Pilot, before: Starts, starts: Starts, retry_in_s: float) -> None:
        if starts.full and before.full:
            return  # told once
        pool = pilot.pool.name
        if starts.full:
            self._out.tell(
                f"The queue takes no more pilots of pool {pool} for now: {starts.words}. It is asked again, "
                f"at first in {retry_in_s:.0f} s and then ever more seldom.",
                warning=True,
            )
            return
        again = f" Next try in {retry_in_s:.0f} s."
        if starts.pauses:
            again = (
                f" Pool {pool} pauses after {starts.failures} failed starts; next try in {retry_in_s / 60:.0f} minutes."
            )
        if starts.given_up:
            again = f" Pool {pool} gets no more pilots; other pools go on." if len(self.pools) > 1 else ""
        self._out.tell(f"Pilot {pilot.name} could not be started: {pilot.words}.{again}", warning=True, counts=False)

    def connected(self, name: str, host: str, now: float) -> None:
        pilot = self._pilots.get(name)
        if pilot is not None and pilot.is_running:
            return
        if pilot is None or not pilot.connected(host, now):
            # Its submit command was killed before it could answer, or the batch system has started it again.
            self._out.add(messages.EndPilot(name))
            return
        pool = pilot.pool
        self._enter(pilot, now)
        self.starts[pool.name] = Starts(has_worked=True)
        self._out.record(events.PilotStarted(pilot=name, host=host, amounts=pool.amounts))
        if host in self._bad_hosts:
            self.drain(pilot, f"host {host} is excluded", now)
        elif pilot.queues:
            self._out.tell(f"Pilot {name} runs on {host}.")

    def adopted(self, name: str, pool: str, host: str, connected_at: float, now: float) -> None:
        """A pilot is there that this core has not requested."""
        if pool in self.pools and name not in self._pilots:
            pilot = self._pilots[name] = Pilot(name, self.pools[pool], connected_at)
            pilot.connected(host, connected_at)
            self._enter(pilot, now)

    def introduce(self, run: int) -> None:
        """Tell a run that begins of the pilots that are there, and have pools that were given up tried again."""
        for name, starts in self.starts.items():
            if starts.given_up:
                self.starts[name] = Starts(has_worked=starts.has_worked)
        for pilot in self._pilots.values():
            if not (pilot.is_coming or pilot.is_running):
                continue
            asked = events.PilotRequested(pilot=pilot.name, pool=pilot.pool.name)
            self._out.record(asked, run, pilot.requested_at)
            if pilot.batch_id:
                submitted = events.PilotSubmitted(pilot=pilot.name, batch_id=pilot.batch_id)
                self._out.record(submitted, run, pilot.requested_at)
            if pilot.is_running:
                started = events.PilotStarted(pilot=pilot.name, host=pilot.host, amounts=pilot.pool.amounts)
                self._out.record(started, run, pilot.connected_at)

    def _enter(self, pilot: Pilot, now: float) -> None:
        pilot.idle_since = now
        pilot.room = Room.of_new_pilot(pilot.name, pilot.pool, pilot.connected_at)
        self.ledger.add(pilot.room)

    def granted(self, name: str, cores: int) -> None:
        """The batch system gave it so many cores; told once a pool where they are fewer than it offers."""
        pilot = self._pilots.get(name)
        pool = pilot.pool if pilot is not None and pilot.queues else None
        if pool is not None and cores < (pool.cores or 0) and pool.name not in self._short:
            self._short.add(pool.name)
            why = system(pool.system).shortfall(pool)
            self._out.tell(
                f"Pilot {name} was granted {cores} core{'s' * (cores != 1)}, but its pool {pool.name} offers "
                f"{pool.cores} to jobs, which share what there is (told once a pool){f': {why}' if why else ''}.",
                warning=True,
                counts=False,
            )

    def shared(self, name: str, others: Amounts) -> None:
        """Others use so much of it now."""
        pilot = self._pilots.get(name)
        if pilot is not None and pilot.room is not None:
            self.ledger.occupy(pilot.room, others)

    def disconnected(self, name: str, now: float) -> None:
        pilot = self._pilots.get(name)
        if pilot is None or not pilot.is_running:
            return
        self._leave(pilot, now)
        pilot.lost(now)
        self._out.record(events.PilotLost(pilot=name, jobs=sorted(pilot.jobs)))
        taken = f"; its {len(pilot.jobs)} running jobs go back to the queue" if pilot.jobs else ""
        self._out.tell(f"Pilot {name} was lost{taken}.", warning=True)
        self._out.add(messages.BuryPilot(name, pilot.pool.system, pilot.batch_id))

    def gone(self, name: str, ended: Ended, now: float) -> Pilot | None:
        """The pilot, where it was lost and nobody knew yet that it is over."""
        pilot = self._pilots.get(name)
        if pilot is None or pilot.state is not PilotState.LOST or not pilot.lost_at or pilot.gone is not None:
            return None
        if ended.cause is Cause.UNKNOWN and pilot.ends_at and pilot.lost_at >= pilot.ends_at - CONNECT_S:
            ended = Ended(ended.words or "over its walltime", Cause.NO_FAULT)
        pilot.gone = ended
        pilot.went(ended.words)
        self._out.record(events.PilotGone(pilot=name, host=pilot.host, how=ended.words))
        if ended.words:
            self._out.tell(f"Pilot {name} ended as {ended.words}.", counts=False)
        if pilot.queues and pilot.batch_id and ended.cause is Cause.CRASH:
            self._note_crash(pilot.host, now)
        return pilot

    def _note_crash(self, host: str, now: float) -> None:
        """Exclude hosts on which pilots crash again and again."""
        self._crashes[host] += 1
        before = self._bad_hosts
        known = {pilot.host for pilot in self._pilots.values() if pilot.host}
        self._bad_hosts = tuple(bad_hosts(self._crashes, known))
        for bad in sorted(set(self._bad_hosts).difference(before)):
            self._out.record(events.HostExcluded(host=bad, crashes=self._crashes[bad]))
            self._out.tell(
                f"{self._crashes[bad]} pilots crashed on host {bad}: it gets no more of them.",
                warning=True,
                counts=False,
            )
            for pilot in self._pilots.values():
                if pilot.host == bad and pilot.is_running:
                    self.drain(pilot, f"host {bad} is excluded", now)

    def told_to_end(self, pilot: Pilot, now: float) -> None:
        """Its batch system ends a running pilot, which has said so itself."""
        if not pilot.draining:
            self._out.tell(
                f"Pilot {pilot.name} was told to end by the batch system; its jobs run elsewhere.",
                warning=True,
                counts=False,
            )
        self.drain(pilot, "told to end by the batch system", now)

    def drain(self, pilot: Pilot, why: str, now: float) -> None:
        """Place nothing more on a running pilot; it ends with its last job."""
        pilot.draining = pilot.draining or why
        self._close_room(pilot)
        self.job_left(pilot, now)

    def job_left(self, pilot: Pilot, now: float) -> None:
        """One of the pilot's jobs has ended."""
        if pilot.jobs or not pilot.is_running:
            return
        pilot.idle_since = now
        if pilot.draining:
            self._end(pilot, pilot.draining, now)

    # -- those that the batch system keeps ----------------------------------------------------------------------

    def ask(self, now: float) -> None:
        """Ask the batch systems about pending pilots where that is due."""
        for name, batch_ids in self.watch.queries(self._pending(), now).items():
            self._out.add(messages.AskBatch(name, batch_ids))

    def listed(self, answer: messages.BatchAnswered, now: float) -> None:
        for noted in self.watch.answered(answer.system, answer.listed, self._pending(), now):
            pilot, words = self._pilots[noted.pilot], noted.words
            if noted.news is News.MISSING:
                self._out.add(messages.ReadPilotLog(pilot.name, pilot.batch_id))
            elif noted.news is News.BROKEN:
                self.start_failed(pilot.name, f"batch job {pilot.batch_id} failed to start: {words}", now)
            else:
                pilot.waits(words or ("held" if noted.news is News.HELD else ""))
                self._out.record(events.PilotWaits(pilot=pilot.name, reason=pilot.words))
                self._tell_waiting(pilot, held=noted.news is News.HELD)

    def _tell_waiting(self, pilot: Pilot, *, held: bool) -> None:
        if held:
            self._out.tell(
                f"Pilot {pilot.name} is held in the queue ({pilot.words}): it starts when somebody releases batch job "
                f"{pilot.batch_id}; if you cancel it, another is submitted.",
                warning=True,
            )
        elif pilot.words:
            self._out.tell(f"Pilot {pilot.name} waits in the queue: {pilot.words.rstrip('.')}.", counts=False)

    def _pending(self) -> list[Pilot]:
        return [p for p in self._pilots.values() if p.state is PilotState.PENDING and p.queues]

    # -- their end ----------------------------------------------------------------------------------------------

    def _end(self, pilot: Pilot, why: str, now: float) -> None:
        self._leave(pilot, now)
        pilot.ended(why)
        self._out.record(events.PilotEnded(pilot=pilot.name, why=why))
        self._out.add(messages.EndPilot(pilot.name))

    def _leave(self, pilot: Pilot, now: float) -> None:
        if pilot.is_running:
            self._runs.pilot_left(pilot, now)
            self.spending.left_core_s += pilot.pool.all_cores * (now - pilot.connected_at)
        self._close_room(pilot)

    def _close_room(self, pilot: Pilot) -> None:
        if pilot.room is not None:
            self.ledger.remove(pilot.room)
            pilot.room = None

    # -- counts -------------------------------------------------------------------------------------------------

    def by_pool(self) -> tuple[defaultdict[str, list[Room]], Counter[str]]:
        """The rooms of running pilots, and how many are requested or queued."""
        rooms: defaultdict[str, list[Room]] = defaultdict(list)
        coming: Counter[str] = Counter()
        for pilot in self._pilots.values():
            if pilot.room is not None:
                rooms[pilot.pool.name].append(pilot.room)
            coming[pilot.pool.name] += pilot.is_coming
        return rooms, coming

    def counts(self) -> str:
        """
        >>> import random
        >>> from .runs import Runs
        >>> Pilots([], messages.Outbox(), Runs(), random.Random(1)).counts()
        'pilots: 0 running, 0 queued'
        """
        running = sum(pilot.is_running for pilot in self._pilots.values())
        queued = sum(pilot.is_coming for pilot in self._pilots.values())
        return f"pilots: {running} running, {queued} queued"

    def validate(self) -> None:
        """Raises AssertionError where an invariant does not hold."""
        for pilot in self._pilots.values():
            assert (pilot.room is not None) == (pilot.is_running and not pilot.draining), pilot
            assert set(pilot.ahead) <= pilot.jobs, pilot
            assert not (pilot.jobs and (pilot.is_coming or pilot.state is PilotState.ENDED)), pilot
            assert not (pilot.draining and pilot.is_running and not pilot.jobs), pilot
            if pilot.room is not None:
                self.ledger.validate(pilot.room, pilot.jobs.difference(pilot.ahead))
        assert len(self.ledger) == sum(pilot.room is not None for pilot in self._pilots.values())
