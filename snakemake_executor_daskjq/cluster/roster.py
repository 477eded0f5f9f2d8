"""The run's pilots: which there are, in what state, and how they are requested and ended.

Hears from the fleet what becomes of them (`FleetListener`) and asks the dispatcher for a round after each
change. What must hold: a pilot's state only goes forward (`PilotState`), each request ends in one of
connected, failed or ended, and no pilot outlives the run.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from ..model import events
from ..model.pool import PilotState, Pool
from ..policy.lifecycle import Starts, idle_pilots
from ..policy.placement import Room
from . import pending
from .pilots import last_words

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from ..errors import DaskjqError
    from ..journal import Journal, RunFolder
    from ..model.outcome import Outcome
    from ..model.request import Amounts, Launch, Request, Shape
    from .summary import Summary


class Reporter(Protocol):
    """Hears what Snakemake and the user have to know. Called in the loop; must not block."""

    def job_ended(self, request: Request, outcome: Outcome, pilot: str) -> None: ...

    def tell(self, text: str) -> None: ...

    def warn(self, text: str) -> None: ...

    def give_up(self, error: DaskjqError) -> None: ...


class Pilots(Protocol):
    """What roster and dispatcher need of a `Fleet`."""

    async def request(self, pilot: str, pool: Pool) -> None: ...

    async def end(self, pilot: str) -> None: ...

    async def run(self, address: str, launch: Launch, amounts: Amounts) -> Outcome: ...


class Rounds(Protocol):
    """What the roster needs of the dispatcher."""

    def want_round(self) -> None: ...

    def spawn(self, work: Coroutine[None, None, None]) -> None: ...

    def job_counts(self) -> str: ...


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
        self.fleet = open_fleet(self)
        self._rounds = rounds
        self._reporter = reporter
        self._journal = journal
        self._folder = folder
        self._summary = summary
        self._serial = 0
        self._query: asyncio.Task[None] | None = None
        self._closing = False

    # -- what the dispatcher asks --------------------------------------------------------------------------

    def running(self) -> dict[str, Pilot]:
        """Pilots that jobs can be placed on, by name."""
        return {name: pilot for name, pilot in self.pilots.items() if pilot.state is PilotState.RUNNING}

    def request(self, pool: Pool, count: int) -> None:
        for _ in range(count):
            self._serial += 1
            pilot = Pilot(f"{pool.name}-{self._serial}", pool)
            self.pilots[pilot.name] = pilot
            self._journal.write(events.PilotRequested(pilot=pilot.name, pool=pool.name))
            self._rounds.spawn(self.fleet.request(pilot.name, pool))
        if pool.system != "local":
            self._reporter.tell(f"Requesting {count} pilot{'s' * (count > 1)} of pool {pool.name}. {self._count()}")

    def end_idle(self, now: float) -> None:
        running = self.running()
        for pool in self.pools.values():
            if pool.system == "local":
                continue  # it costs nothing to keep, and the next job starts at once
            idle = {name: pilot.idle_since for name, pilot in running.items() if pilot.pool is pool and not pilot.jobs}
            for name in idle_pilots(idle, pool.idle_timeout_s, now):
                self._end(running[name], "idle")
                self._rounds.spawn(self.fleet.end(name))
                self._reporter.tell(f"Pilot {name} had nothing to do and ends. {self._count()}")

    def idle_due(self) -> list[float]:
        """When idle pilots are to end, seconds since the epoch."""
        return [
            pilot.idle_since + pilot.pool.idle_timeout_s
            for pilot in self.running().values()
            if not pilot.jobs and pilot.system != "local"
        ]

    def close(self) -> None:
        """Request nothing any more; all pilots count as ended. The fleet ends them with itself."""
        self._closing = True
        if self._query is not None:
            self._query.cancel()
        for pilot in self.pilots.values():
            if pilot.state in (PilotState.REQUESTED, PilotState.PENDING, PilotState.RUNNING):
                self._end(pilot, "run ended")

    # -- what pilots do (FleetListener) ----------------------------------------------------------------------

    def pilot_submitted(self, pilot: str, batch_id: str) -> None:
        known = self.pilots[pilot]
        known.batch_id = batch_id
        if known.state is PilotState.REQUESTED:
            known.state = PilotState.PENDING
        self._journal.write(events.PilotSubmitted(pilot=pilot, batch_id=batch_id))
        if known.system != "local" and (self._query is None or self._query.done()):
            self._query = asyncio.create_task(pending.watch(self._pending, self._pilot_waits, self._pilot_died))

    def pilot_start_failed(self, pilot: str, words: str) -> None:
        known = self.pilots[pilot]
        if known.state not in (PilotState.REQUESTED, PilotState.PENDING):
            return  # it ran, or was told to end
        known.state = PilotState.LOST
        now = time.time()
        starts = self.starts[known.pool.name].failed(words, now)
        self.starts[known.pool.name] = starts
        retry_in_s = 0.0 if starts.given_up else max(0.0, starts.not_before - now)
        self._journal.write(events.PilotFailed(pilot=pilot, words=words, retry_in_s=retry_in_s))
        if not self._closing:
            again = "" if starts.given_up else f" Next try in {retry_in_s:.0f} s."
            self._reporter.warn(f"Pilot {pilot} could not be started: {words or 'no reason given'}.{again}")
            self._rounds.spawn(self.fleet.end(pilot))
            self._rounds.want_round()

    def pilot_connected(self, pilot: str, address: str, host: str) -> None:
        known = self.pilots.get(pilot)
        if known is None or known.state not in (PilotState.REQUESTED, PilotState.PENDING):
            return
        now = time.time()
        pool = known.pool
        known.state = PilotState.RUNNING
        known.address = address
        known.connected_at = known.idle_since = now
        ends_at = None if pool.walltime_s is None else now + pool.walltime_s
        known.room = Room(pilot, pool.name, dict(pool.amounts), ends_at, pool.slack_s)
        self.starts[pool.name] = Starts()
        self._journal.write(events.PilotStarted(pilot=pilot, host=host, amounts=pool.amounts))
        if pool.system != "local":
            self._reporter.tell(f"Pilot {pilot} runs on {host}. {self._count()}")
        self._rounds.want_round()

    def pilot_disconnected(self, pilot: str) -> None:
        known = self.pilots.get(pilot)
        if known is None or known.state is not PilotState.RUNNING or self._closing:
            return
        self._leave(known, PilotState.LOST)
        self._journal.write(events.PilotLost(pilot=pilot, jobs=sorted(known.jobs)))
        taken = f"; its {len(known.jobs)} running jobs go back to the queue" if known.jobs else ""
        self._reporter.warn(f"Pilot {pilot} was lost{taken}. {self._count()}")
        # Its jobs end as lost through their futures. The batch job is cancelled in case it still runs.
        self._rounds.spawn(self.fleet.end(pilot))
        self._rounds.want_round()

    # -- pilots that the batch system keeps --------------------------------------------------------------------

    def _pending(self) -> list[Pilot]:
        return [p for p in self.pilots.values() if p.state is PilotState.PENDING and p.system != "local"]

    def _pilot_waits(self, pilot: str, reason: str) -> None:
        self._journal.write(events.PilotWaits(pilot=pilot, reason=reason))
        self._reporter.tell(f"Pilot {pilot} waits in the queue: {reason}.")

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
            cores = pilot.pool.amounts["cores"]
            self._summary.pilot_left(cores * (time.time() - pilot.connected_at))
        pilot.state = state
        pilot.room = None

    def _count(self) -> str:
        """The status line: how many pilots there are, and how many jobs wait and run."""
        states = Counter(pilot.state for pilot in self.pilots.values())
        queued = states[PilotState.PENDING] + states[PilotState.REQUESTED]
        return f"(pilots: {states[PilotState.RUNNING]} running, {queued} queued; {self._rounds.job_counts()})"
