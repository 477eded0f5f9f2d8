"""Which waiting job goes on which pilot now.

Late binding: a job stays in our own queue until a live pilot has room for it. Dask would bind it at once to
a worker whose *total* supply fits, so that early pilots pile up work and late ones idle (distributed's
`is_rootish` and `valid_workers`).

Covers vector fit over all consumables, walltime, priorities and pinned pools. Does not cover reservations
for wide jobs: a wide job waits until enough cores happen to be free.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..model.request import Amounts, Request, Shape


@dataclass(slots=True)
class Room:
    """What is left on one pilot: the ledger's row.

    `free` never falls below zero; `ends_at` (seconds since the epoch) is when the pilot's walltime is over,
    None where it has none. A stated runtime may reach `slack_s` beyond that: it is an upper bound, and without
    slack a job as long as the walltime would fit no pilot, for a little of it is always gone already.
    """

    pilot: str
    pool: str
    free: Amounts
    ends_at: float | None = None
    slack_s: float = 0.0

    def can_end(self, request: Request, now: float) -> bool:
        """True if the job can end before the pilot does.

        >>> from snakemake_executor_daskjq.model.request import Request
        >>> room = Room("main-1", "main", {"cores": 4}, ends_at=1000.0, slack_s=60.0)
        >>> job = Request("a", 1, "a", 1, {"cores": 2}, runtime_s=600)
        >>> room.can_end(job, now=460.0), room.can_end(job, now=461.0)
        (True, False)
        """
        if self.ends_at is None or request.runtime_s is None:
            return True
        return now + request.runtime_s <= self.ends_at + self.slack_s

    def fits(self, request: Request, now: float) -> bool:
        """True if every amount is free and the job can end before the pilot does.

        >>> from snakemake_executor_daskjq.model.request import Request
        >>> room = Room("main-1", "main", {"cores": 4, "mem_mb": 8000}, ends_at=1000.0)
        >>> room.fits(Request("a", 1, "a", 1, {"cores": 2}, runtime_s=600), now=300.0)
        True
        >>> room.fits(Request("a", 1, "a", 1, {"cores": 2}, runtime_s=600), now=500.0)
        False
        """
        if not request.may_use(self.pool) or not self.can_end(request, now):
            return False
        return all(amount <= self.free.get(name, 0) for name, amount in request.amounts.items())

    def take(self, amounts: Amounts) -> None:
        """Book `amounts`. Raises ValueError where that would promise more than is free."""
        for name, amount in amounts.items():
            if amount > self.free.get(name, 0):
                raise ValueError(f"{self.pilot}: {name}={amount} asked, {self.free.get(name, 0)} free")
        for name, amount in amounts.items():
            self.free[name] -= amount

    def give_back(self, amounts: Amounts) -> None:
        for name, amount in amounts.items():
            self.free[name] += amount


@dataclass(slots=True)
class ReadyQueue:
    """Waiting jobs, grouped by shape, so that a round costs by shapes and not by jobs.

    Within a shape, higher priority first, then first come, first served.
    """

    _shapes: dict[Shape, list[tuple[int, int, Request]]] = field(default_factory=dict)
    _serial: count[int] = field(default_factory=count)
    _length: int = 0

    def push(self, request: Request) -> None:
        heap = self._shapes.setdefault(request.shape, [])
        heapq.heappush(heap, (-request.priority, next(self._serial), request))
        self._length += 1

    def pop(self, shape: Shape) -> Request:
        heap = self._shapes[shape]
        request = heapq.heappop(heap)[2]
        if not heap:
            del self._shapes[shape]
        self._length -= 1
        return request

    def head(self, shape: Shape) -> Request | None:
        heap = self._shapes.get(shape)
        return heap[0][2] if heap else None

    def heads(self) -> list[tuple[Shape, Request]]:
        """The first job of each shape: higher priority first, then more cores, then more memory, then age."""

        def rank(item: tuple[Shape, tuple[int, int, Request]]) -> tuple[int, int, int, int]:
            minus_priority, serial, request = item[1]
            return (
                minus_priority,
                -request.amounts.get("cores", 0),
                -request.amounts.get("mem_mb", 0),
                serial,
            )

        ranked = sorted(((shape, heap[0]) for shape, heap in self._shapes.items()), key=rank)
        return [(shape, head[2]) for shape, head in ranked]

    def shapes(self) -> Iterator[tuple[Request, int]]:
        """One job of each shape, and how many wait."""
        for heap in self._shapes.values():
            yield heap[0][2], len(heap)

    def clear(self) -> list[Request]:
        """Take all out."""
        requests = [entry[2] for heap in self._shapes.values() for entry in sorted(heap, key=lambda e: e[:2])]
        self._shapes.clear()
        self._length = 0
        return requests

    def __len__(self) -> int:
        return self._length


def place(ready: ReadyQueue, rooms: Iterable[Room], now: float) -> list[tuple[Request, str]]:
    """Take every job that fits somewhere now out of `ready`, book it in its room, and say where it goes.

    Best fit: the pilot with the fewest free cores that still holds the job, so that others stay whole for
    wide jobs and idle ones can end. A shape that fits nowhere is passed over; its cost does not depend on
    how many jobs of it wait.
    """
    rooms = list(rooms)
    placed: list[tuple[Request, str]] = []
    blocked: set[Shape] = set()
    while True:
        open_heads = [(shape, head) for shape, head in ready.heads() if shape not in blocked]
        if not open_heads:
            return placed
        shape, head = open_heads[0]
        # As long as the priority stays the same this shape leads: fill on without ranking all shapes anew.
        following: Request | None = head
        while following is not None and following.priority == head.priority:
            fitting = [room for room in rooms if room.fits(head, now)]
            if not fitting:
                blocked.add(shape)
                break
            room = min(fitting, key=lambda room: (room.free.get("cores", 0), room.pilot))
            request = ready.pop(shape)
            room.take(request.amounts)
            placed.append((request, room.pilot))
            following = ready.head(shape)
