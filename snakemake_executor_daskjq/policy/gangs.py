"""Rules whose Dask workers are jobs of the run themselves: a gang is such a rule's job, its leader, and its workers.

The leader starts first, its workers are queued then, and it can work once `least` of them run. Leaders that all wait
for workers, on room that the others hold, would wait for ever. So one gang at a time gathers: no other leader starts
before it is complete. One that is complete can end whatever the others do; should it lose workers, it gets new ones
before every younger gang. So the oldest gang that lacks some gets all room that becomes free, and goes on.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..model.request import DaskWorkers, Request

NEEDED = 2**70
"""What workers that an incomplete gang waits for have as their priority, at the least: above all of Snakemake's."""

SPARE_FAILURES = 3
"""A gang's workers may end by themselves so often for each that it wants, before no others take their place."""


@dataclass(slots=True)
class Gang:
    """A leader that runs, and its workers.

    `running` are the keys of its workers, `waiting` those of workers that wait for room, and whether it needs them.
    """

    leader: Request
    number: int
    running: set[str] = field(default_factory=set)
    waiting: dict[str, bool] = field(default_factory=dict)
    started: int = 0
    failures: int = 0

    @property
    def wanted(self) -> DaskWorkers:
        assert self.leader.workers is not None
        return self.leader.workers

    @property
    def is_complete(self) -> bool:
        return len(self.running) >= self.wanted.least

    def more(self) -> tuple[list[Request], set[str]]:
        """The workers that are to be queued, and those that are to be taken back for them."""
        needed = self.wanted.least - len(self.running) - sum(self.waiting.values())
        new = [self._worker(is_needed=True) for _ in range(needed)]
        others = self.wanted.count - len(self.running) - len(self.waiting)
        new += [self._worker(is_needed=False) for _ in range(others)]
        spare = [key for key, is_needed in self.waiting.items() if not is_needed][: max(0, -others)]
        for key in spare:
            del self.waiting[key]
        return new, set(spare)

    def _worker(self, *, is_needed: bool) -> Request:
        leader, workers = self.leader, self.wanted
        self.started += 1
        worker = replace(
            leader,
            key=f"{leader.key}.worker-{self.number}-{self.started}",
            rule=f"{leader.rule}.worker",
            amounts=dict(workers.amounts),
            beyond={},
            priority=2 * NEEDED - self.number if is_needed else leader.priority,
            pools=workers.pools,
            workers=None,
            leader=leader.key,
        )
        self.waiting[worker.key] = is_needed
        return worker


class Gangs:
    """All gangs of a run, and the leaders that have not started; `gathering` is the one whose gang is incomplete."""

    def __init__(self) -> None:
        self._gangs: dict[str, Gang] = {}  # by the leader's key
        self._queued: dict[str, Request] = {}  # leaders that may start
        self._held: dict[str, Request] = {}  # leaders that have to wait until another has gathered
        self.gathering = ""
        self._count = 0

    def __len__(self) -> int:
        """How many leaders have to wait."""
        return len(self._held)

    def __getitem__(self, leader: str) -> Gang:
        return self._gangs[leader]

    def held(self) -> list[str]:
        """The keys of leaders that have to wait."""
        return list(self._held)

    def may_be_queued(self, leader: Request) -> bool:
        """Whether a leader may start when there is room; else it is held here."""
        (self._held if self.gathering else self._queued)[leader.key] = leader
        return not self.gathering

    def released(self) -> list[Request]:
        """The leaders that may be queued now, which were held."""
        if self.gathering:
            return []
        released, self._held = self._held, {}
        self._queued |= released
        return list(released.values())

    @property
    def lack_workers(self) -> bool:
        """Whether workers of some gang wait for room."""
        return any(gang.waiting for gang in self._gangs.values())

    def leader_started(self, leader: Request) -> tuple[list[Request], set[str]]:
        """A leader has been placed: the workers that are to be queued, and the leaders that are to be held."""
        self._count += 1
        gang = self._gangs[leader.key] = Gang(leader, self._count)
        self.gathering = leader.key
        self._queued.pop(leader.key, None)
        held, self._queued = self._queued, {}
        self._held |= held
        return gang.more()[0], set(held)

    def worker_started(self, worker: Request) -> None:
        gang = self._gangs[worker.leader]
        del gang.waiting[worker.key]
        gang.running.add(worker.key)
        if gang.is_complete:
            self._gathered(worker.leader)

    def worker_ended(self, worker: Request, *, is_failure: bool) -> tuple[list[Request], set[str]]:
        """A worker has ended, or was lost: those that are to be queued in its place, and to be taken back for them."""
        gang = self._gangs.get(worker.leader)
        if gang is None or worker.key not in gang.running:
            return [], set()  # of an earlier try of its leader
        gang.running.discard(worker.key)
        gang.failures += is_failure
        return ([], set()) if self.has_failed(worker.leader) else gang.more()

    def leader_ended(self, key: str) -> set[str]:
        """A leader has ended, was lost, or is withdrawn: its workers that wait, which are to be taken back."""
        self._queued.pop(key, None)
        self._held.pop(key, None)
        self._gathered(key)
        gang = self._gangs.pop(key, None)
        return set() if gang is None else set(gang.waiting)

    def taken_over(self, leader: str, run: int) -> list[str]:
        """A leader is another run's from now on, with its workers: their keys."""
        gang = self._gangs.get(leader)
        if gang is None:
            return []
        gang.leader = replace(gang.leader, run=run)
        return [*sorted(gang.running), *gang.waiting]

    def has_failed(self, leader: str) -> bool:
        """Whether workers of a gang have ended by themselves so often that it gets no more."""
        gang = self._gangs.get(leader)
        return gang is not None and gang.failures > SPARE_FAILURES * gang.wanted.count

    def _gathered(self, leader: str) -> None:
        if self.gathering == leader:
            self.gathering = ""
