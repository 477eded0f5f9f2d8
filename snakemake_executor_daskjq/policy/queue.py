"""Waiting jobs in groups, so that a round costs by kinds of jobs and not by jobs."""

from __future__ import annotations

import math
from itertools import count
from typing import TYPE_CHECKING, TypeAlias

from sortedcontainers import SortedList

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from ..model.pool import Pool
    from ..model.request import Request
    from .rooms import Room

RANK_S = 1.0
"""What is expected of rules changes while they run: groups are put in order again this often."""

RUNTIME_STEP = 3.0
"""The longest runtime in a group is at most so many times its shortest."""

UNRANKED = -1

RUNTIMES_LOOKED_AT = 32
"""Jobs of one group differ little in runtime; so many are looked at for one that a pilot has the time for."""

Entry: TypeAlias = "tuple[int, int, float, Request]"
"""(-mem_mb, serial, when it came, the job): largest memory first, then first come, first served."""

Key: TypeAlias = tuple[int, int, str, tuple[tuple[str, int], ...], int | None, tuple[str, ...] | None]


class Group:
    """Waiting jobs of one rule and priority that differ in memory, and a little in runtime.

    Memory is often a function of the input size, so that each job has a shape of its own; sorted by it, the
    largest that fits is found at once.

    Attributes
    ----------
    waiting : the jobs, in the order of `Entry`.
    expected_s : how long one is expected to take; None where nothing is known.
    rank : its place among the groups when they were last put in order.
    is_stuck : no pilot had room for any of its jobs, and those that gained room since are known.
    holds : how many pilots are held for it; `hold_not_before` is when another may be looked for.
    """

    __slots__ = (
        "_tried",
        "cores",
        "expected_s",
        "hold_not_before",
        "holds",
        "priority",
        "rank",
        "rule",
        "run",
        "waiting",
    )

    def __init__(self, request: Request) -> None:
        self.run = request.run
        self.rule = request.rule
        self.priority = request.priority
        self.cores = request.amounts.get("cores", 0)
        self.waiting: SortedList[Entry] = SortedList()
        self.expected_s: float | None = None
        self.rank = UNRANKED
        self.holds = 0
        self.hold_not_before = -math.inf
        self._tried: tuple[int, float] | None = None  # least memory, shortest runtime that found no room

    @property
    def head(self) -> Request:
        request: Request = self.waiting[0][3]
        return request

    @property
    def is_stuck(self) -> bool:
        return self._tried is not None

    def mark_stuck(self) -> None:
        """No room can take any of its jobs now."""
        if self._tried is None:
            self._tried = (
                -self.waiting[-1][0],
                min(_runtime_s(entry[3]) for entry in self.waiting[-RUNTIMES_LOOKED_AT:]),
            )

    def add(self, serial: int, now: float, request: Request) -> None:
        mem_mb = request.amounts.get("mem_mb", 0)
        self.waiting.add((-mem_mb, serial, now, request))
        if self._tried is not None and (mem_mb < self._tried[0] or _runtime_s(request) < self._tried[1]):
            self._tried = None

    def take(self, index: int) -> Request:
        request: Request = self.waiting.pop(index)[3]
        if not self.waiting:
            self._tried = None  # what gains room while none waits is not looked at
        return request

    def fitting(self, room: Room, now: float) -> int | None:
        """The index of the first job that fits `room` now, or None."""
        if not self.head.may_use(room.pool):
            return None
        first = self.waiting.bisect_left((-room.free.get("mem_mb", 0),))
        for index in range(first, min(first + RUNTIMES_LOOKED_AT, len(self.waiting))):
            found = room.misfits(self.waiting[index][3], now, self.expected_s)
            if not found:
                return index
            if found[0].resource != "runtime":  # an amount, which is the same for all of the group
                return None
        return None

    def wider_than(self, request: Request) -> bool:
        """True if jobs wait whose first asks for more of something than `request`."""
        if not self.waiting:
            return False
        return any(amount > request.amounts.get(name, 0) for name, amount in self.head.amounts.items())


class ReadyQueue:
    """All waiting jobs.

    The groups of a run come by Snakemake's priority, then the longer way to the workflow's end (`urgency`, seconds),
    then more cores, then first come, first served. `last_pilot` tells where a job of a run's rule was started last.
    """

    def __init__(
        self,
        expected_s: Callable[[Request], float | None] = lambda request: request.runtime_s,
        urgency: Callable[[int, str], float] = lambda run, rule: 0.0,
    ) -> None:
        self._expected_s = expected_s
        self._urgency = urgency
        self.last_pilot: dict[tuple[int, str], str] = {}
        self._groups: dict[Key, Group] = {}
        self._ranked: list[Group] = []
        self._ranked_at = -math.inf
        self._serial = count()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def push(self, request: Request, now: float = 0.0) -> None:
        key = _key(request)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(request)
        if group.rank == UNRANKED:
            self._ranked_at = -math.inf
        group.add(next(self._serial), now, request)
        self._length += 1

    def take(self, group: Group, index: int) -> Request:
        """Take one job out."""
        self._length -= 1
        return group.take(index)

    def remove(self, keys: Collection[str]) -> None:
        """Take these out: at the cost of all that wait, unless there are none."""
        for group in self._groups.values() if keys else ():
            for index in range(len(group.waiting) - 1, -1, -1):
                if group.waiting[index][3].key in keys:
                    self.take(group, index)

    def remove_run(self, run: int) -> None:
        """Take out all of a run."""
        for group in self._groups.values():
            while group.run == run and group.waiting:
                self.take(group, 0)

    def forget(self, run: int) -> None:
        """A run is over, and nothing of it waits."""
        self._groups = {key: group for key, group in self._groups.items() if group.run != run}
        self.last_pilot = {key: pilot for key, pilot in self.last_pilot.items() if key[0] != run}

    def take_like(self, request: Request) -> Request | None:
        """Take out a job of the same rule, priority and shape; None if none waits."""
        group = self._groups.get(_key(request))
        if group is None or not group.waiting:
            return None
        index = group.waiting.bisect_left((-request.amounts.get("mem_mb", 0),))
        if index == len(group.waiting) or group.waiting[index][3].shape != request.shape:
            return None
        return self.take(group, index)

    def groups(self) -> Iterable[Group]:
        return self._groups.values()

    def ranked(self, now: float) -> list[Group]:
        """The groups in the order in which they may take room; some may be empty by now."""
        if not now - self._ranked_at < RANK_S:
            self._groups = {key: group for key, group in self._groups.items() if group.waiting or group.holds}
            for group in self._groups.values():
                group.rank = UNRANKED
                if group.waiting:
                    group.expected_s = self._expected_s(group.head)
            self._ranked = sorted((group for group in self._groups.values() if group.waiting), key=self._order)
            for rank, group in enumerate(self._ranked):
                group.rank = rank
            self._ranked_at = now
        return self._ranked

    def _order(self, group: Group) -> tuple[int, float, int, int, int]:
        entry = group.waiting[0]
        urgency_s = self._urgency(group.run, group.rule)
        return -group.priority, -round(urgency_s), -group.cores, entry[0], entry[1]

    def demands(self, pools: Iterable[Pool]) -> Iterator[tuple[Request, int, float | None]]:
        """What waits, in few lines: a typical job, how many of them, and how long one is expected to take.

        A group is cut where the pools' memory ends, so that all jobs of a line can use the same pools.
        """
        limits = sorted({pool.amounts["mem_mb"] for pool in pools}, reverse=True)
        for group in self._groups.values():
            waiting = group.waiting
            if not waiting:
                continue
            expected_s = self._expected_s(group.head)
            cuts = [waiting.bisect_left((-limit,)) for limit in limits]
            for start, end in zip([0, *cuts], [*cuts, len(waiting)], strict=True):
                if start < end:
                    yield waiting[(start + end) // 2][3], end - start, expected_s

    def waiting(self) -> Iterator[Request]:
        """All that wait, in no order."""
        return (entry[3] for group in self._groups.values() for entry in group.waiting)


def _key(request: Request) -> Key:
    others = tuple(sorted((name, n) for name, n in request.amounts.items() if name != "mem_mb"))
    runtime_s = request.runtime_s
    step = None if runtime_s is None else round(math.log(max(1, runtime_s), RUNTIME_STEP))
    return request.run, request.priority, request.rule, others, step, request.pools


def _runtime_s(request: Request) -> float:
    return math.inf if request.runtime_s is None else request.runtime_s
