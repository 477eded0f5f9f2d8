"""Rules whose Dask workers are jobs of the run themselves: a gang is such a rule's job, its leader, and its workers.

The leader starts first, its workers are queued then, and it can work once `least` of them run. Leaders that all wait
for workers, on room that the others hold, would wait for ever. So one gang at a time gathers: no other leader starts
before it is complete. One that is complete can end whatever the others do; should it lose workers, it gets new ones
before every younger gang. So the oldest gang that lacks some gets all room that becomes free, and goes on.
"""

from __future__ import annotations

from collections import deque
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

    `running` and `waiting` are the keys of its workers.
    """

    leader: Request
    number: int
    running: set[str] = field(default_factory=set)
    waiting: set[str] = field(default_factory=set)
    started: int = 0
    failures: int = 0
    has_given_up: bool = False

    @property
    def wanted(self) -> DaskWorkers:
        assert self.leader.workers is not None
        return self.leader.workers

    def more(self) -> list[Request]:
        """The requests of the workers that it lacks."""
        return [self._worker() for _ in range(self.wanted.count - len(self.running) - len(self.waiting))]

    def _worker(self) -> Request:
        leader, workers = self.leader, self.wanted
        self.started += 1
        is_needed = len(self.running) + len(self.waiting) < workers.least
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
        self.waiting.add(worker.key)
        return worker


class Gangs:
    """All gangs of a run, and leaders that have to wait for their turn."""

    def __init__(self) -> None:
        self._gangs: dict[str, Gang] = {}  # by the leader's key
        self._turn: deque[Request] = deque()
        self._gathering = ""  # the leader that is in the queue, or whose gang is not complete yet
        self._count = 0

    def __len__(self) -> int:
        """How many leaders wait for their turn."""
        return len(self._turn)

    def turn_of(self, leader: Request) -> bool:
        """Whether a leader may be queued; else it waits here for its turn."""
        if not self._gathering:
            self._gathering = leader.key
        if self._gathering == leader.key:
            return True
        self._turn.append(leader)
        return False

    def next(self) -> Request | None:
        """The leader whose turn it is now: to be queued. Snakemake's priority goes first, then who came first."""
        if self._gathering or not self._turn:
            return None
        leader = max(self._turn, key=lambda request: request.priority)
        self._turn.remove(leader)
        self._gathering = leader.key
        return leader

    def held(self) -> list[str]:
        """The keys of leaders that wait for their turn."""
        return [leader.key for leader in self._turn]

    @property
    def lack_workers(self) -> bool:
        """Whether workers of some gang wait for room."""
        return any(gang.waiting for gang in self._gangs.values())

    def leader_started(self, leader: Request) -> list[Request]:
        """A leader has been placed: the workers that are to be queued."""
        self._count += 1
        gang = self._gangs[leader.key] = Gang(leader, self._count)
        return gang.more()

    def worker_started(self, worker: Request) -> None:
        gang = self._gangs[worker.leader]
        gang.waiting.discard(worker.key)
        gang.running.add(worker.key)
        if len(gang.running) >= gang.wanted.least:
            self._gathered(worker.leader)

    def worker_ended(self, worker: Request, *, by_itself: bool) -> list[Request]:
        """A worker has ended, or was lost: those that are to be queued in its place."""
        gang = self._gangs.get(worker.leader)
        if gang is None:
            return []  # its leader has ended, and so it did
        gang.running.discard(worker.key)
        gang.waiting.discard(worker.key)
        gang.failures += by_itself
        return gang.more() if gang.failures <= SPARE_FAILURES * gang.wanted.count else []

    def leader_ended(self, key: str) -> set[str]:
        """A leader has ended, was lost, or is withdrawn: its workers that wait, which are to be taken back.

        Those that run end by themselves, for their scheduler is gone.
        """
        self._turn = deque(leader for leader in self._turn if leader.key != key)
        self._gathered(key)
        gang = self._gangs.pop(key, None)
        return set() if gang is None else gang.waiting

    def gives_up(self, leader: str) -> bool:
        """Whether workers of a gang have ended by themselves so often that it gets no more. Others may gather then."""
        gang = self._gangs.get(leader)
        if gang is None or gang.failures <= SPARE_FAILURES * gang.wanted.count or gang.has_given_up:
            return False
        gang.has_given_up = True
        self._gathered(leader)
        return True

    def _gathered(self, leader: str) -> None:
        if self._gathering == leader:
            self._gathering = ""
