"""The ledger: what is free on each pilot, indexed so that a job finds its room without a search."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from .fit import Misfit, misfits
from .shares import Shares

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..model.pool import Pool
    from ..model.request import Amounts, Request
    from .queue import Group


NOBODY = 0
"""The run of what no run of the controller has."""

OTHERS = ""
"""The key under which a room's bookings have what is not the run's own: no job has it."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A pilot is kept for the next job of `group`: others start there only if they don't delay it.

    `until` is when enough is expected to be free, seconds since the epoch. `catches_up`: its run is to have more there
    than it has, for it is behind another.
    """

    group: Group
    until: float
    catches_up: bool = False


class Booking(NamedTuple):
    """What a job has on a pilot, and when it is expected to end (seconds since the epoch; inf if nobody knows)."""

    ends_at: float
    amounts: Amounts
    run: int = NOBODY


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
    walltime_s: float | None = None
    capacity: Amounts = field(default_factory=dict)
    bookings: dict[str, Booking] = field(default_factory=dict)  # by the job's key
    hold: Hold | None = None

    def __post_init__(self) -> None:
        self.capacity = self.capacity or dict(self.free)

    @classmethod
    def of_new_pilot(cls, pilot: str, pool: Pool, now: float) -> Room:
        """What a pilot of the pool that connects now has to give."""
        ends_at = None if pool.walltime_s is None else now + pool.walltime_s
        return cls(pilot, pool.name, dict(pool.amounts), ends_at, pool.slack_s, pool.walltime_s)

    def misfits(
        self, request: Request, now: float, expected_s: float | None = None, amounts: Mapping[str, int] | None = None
    ) -> list[Misfit]:
        """What keeps the job off the pilot now (see `fit.misfits`); with `amounts`, if these were free.

        >>> from snakemake_executor_daskjq.model.request import Request
        >>> room = Room("main-1", "main", {"cores": 4}, ends_at=1000.0, slack_s=60.0)
        >>> job = Request("a", 1, "a", 1, {"cores": 2}, runtime_s=600)
        >>> room.misfits(job, now=460.0), room.misfits(job, now=461.0)
        ([], [Misfit(resource='runtime', asked=600, offered=539)])
        """
        return misfits(
            request,
            self.free if amounts is None else amounts,
            left_s=None if self.ends_at is None else self.ends_at - now,
            walltime_s=self.walltime_s,
            slack_s=self.slack_s,
            expected_s=expected_s,
        )

    def is_spent(self, shortest: Request | None, now: float) -> bool:
        """True if not even the shortest of the jobs that wait for such a pilot could run here any more."""
        return shortest is not None and bool(self.misfits(shortest, now, amounts=self.capacity))

    def free_share(self, now: float, span_s: float, unknown_s: float) -> dict[str, float]:
        """Which share of each amount is expected to be free within `span_s`; what is beyond the pilot's end is not.

        A job that has run longer than expected is taken to need as long again as it is late, and one of which nothing
        is known `unknown_s`.
        """
        left_s = span_s if self.ends_at is None else min(span_s, max(0.0, self.ends_at - now))
        used: dict[str, float] = {}
        for ends_at, amounts, _ in self.bookings.values():
            for name, amount in amounts.items():
                needed_s = abs(ends_at - now) if ends_at < math.inf else unknown_s
                used[name] = used.get(name, 0.0) + min(left_s, needed_s) * amount
        return {
            name: max(0.0, left_s - used.get(name, 0.0) / amount) / span_s if amount else 0.0
            for name, amount in self.capacity.items()
        }

    def fits(self, request: Request, now: float, expected_s: float | None = None) -> bool:
        """True if the pilot's pool is open to the job, every amount is free and the job can end before the pilot."""
        return request.may_use(self.pool) and not self.misfits(request, now, expected_s)

    def could_hold(self, group: Group, now: float) -> bool:
        """True if the group's first job would fit if nothing else ran here."""
        head = group.head
        return head.may_use(self.pool) and not self.misfits(head, now, group.expected_s, self.capacity)


class Ledger:
    """All rooms, by pool and free cores. Only its methods change a room that it holds.

    `held` is how many cores each run has of them, by its number, and `shares` tells what they had over time.
    """

    def __init__(self) -> None:
        self._rooms: dict[str, Room] = {}
        self._by_cores: dict[str, list[dict[str, Room]]] = {}  # pool -> free cores -> pilot -> room
        self._gained: dict[str, Room] = {}
        self.held: Counter[int] = Counter()
        self.shares = Shares()
        self.holds = 0

    def __len__(self) -> int:
        return len(self._rooms)

    def add(self, room: Room) -> None:
        buckets = self._by_cores.setdefault(room.pool, [])
        buckets.extend({} for _ in range(len(buckets), room.capacity["cores"] + 1))
        self._rooms[room.pilot] = room
        buckets[room.free["cores"]][room.pilot] = room
        self._gained[room.pilot] = room
        self._count(room, 1)

    def _count(self, room: Room, sign: int) -> None:
        for booking in room.bookings.values():
            self.held[booking.run] += sign * booking.amounts.get("cores", 0)

    def remove(self, room: Room) -> None:
        if self._rooms.pop(room.pilot, None) is not None:
            self._count(room, -1)
            del self._by_cores[room.pool][room.free["cores"]][room.pilot]
            if room.hold is not None:
                self.release(room)
            self._gained.pop(room.pilot, None)

    def book(self, room: Room, request: Request, ends_at: float) -> None:
        """Promise the job's amounts. Raises ValueError where that would be more than is free.

        `ends_at` is when the job is expected to end, seconds since the epoch; inf where nothing is known.
        """
        free = room.free
        for name, amount in request.amounts.items():
            if amount > free.get(name, 0):
                raise ValueError(f"{room.pilot}: {name}={amount} asked, {free.get(name, 0)} free")
        room.bookings[request.key] = Booking(ends_at, request.amounts, request.run)
        self._change(room, request.amounts, -1, request.run)

    def can_book(self, room: Room, request: Request) -> bool:
        return not misfits(request, room.free)

    def give_back(self, room: Room, key: str) -> None:
        """The job is over; nothing happens where it was not booked."""
        booking = room.bookings.pop(key, None)
        if booking is not None:
            self._change(room, booking.amounts, 1, booking.run)
            if room.pilot in self._rooms:
                self._gained[room.pilot] = room

    def occupy(self, room: Room, others: Amounts) -> bool:
        """Set aside what others use of the pilot now, as far as it is free; False if that is as before.

        >>> ledger, room = Ledger(), Room("workers-1", "workers", {"cores": 4})
        >>> ledger.add(room)
        >>> [(ledger.occupy(room, {"cores": cores}), room.free["cores"]) for cores in (3, 3, 9, 0)]
        [(True, 1), (False, 1), (True, 0), (True, 4)]
        """
        before = room.bookings[OTHERS].amounts if OTHERS in room.bookings else {}
        left = {name: free + before.get(name, 0) for name, free in room.free.items()}
        held = {name: min(amount, left.get(name, 0)) for name, amount in others.items()}
        held = {name: amount for name, amount in held.items() if amount}
        if held == before:
            return False
        self.give_back(room, OTHERS)
        if held:
            room.bookings[OTHERS] = Booking(math.inf, held)
            self._change(room, held, -1, NOBODY)
        return True

    def pass_on(self, room: Room, key: str, to: Request, ends_at: float) -> None:
        """What job `key` held is job `to`'s from now on; both ask for the same."""
        held = room.bookings.pop(key)
        room.bookings[to.key] = Booking(ends_at, held.amounts, held.run)
        self.hand_over(room, to.key, to.run)

    def hand_over(self, room: Room, key: str, run: int) -> None:
        """What a job holds is another run's from now on; nothing happens where it was not booked."""
        booking = room.bookings.get(key)
        if booking is not None and booking.run != run:
            room.bookings[key] = Booking(booking.ends_at, booking.amounts, run)
            if room.pilot in self._rooms:
                cores = booking.amounts.get("cores", 0)
                self.held[booking.run] -= cores
                self.held[run] += cores

    def _change(self, room: Room, amounts: Amounts, sign: int, run: int) -> None:
        before = room.free["cores"]
        for name, amount in amounts.items():
            room.free[name] += sign * amount
        after = room.free["cores"]
        if after != before and room.pilot in self._rooms:
            self.held[run] += before - after
            buckets = self._by_cores[room.pool]
            del buckets[before][room.pilot]
            buckets[after][room.pilot] = room

    def hold(self, room: Room, group: Group, until: float, *, catches_up: bool) -> None:
        room.hold = Hold(group, until, catches_up)
        group.holds += 1
        self.holds += 1

    def release(self, room: Room) -> None:
        assert room.hold is not None
        room.hold.group.holds -= 1
        room.hold = None
        self.holds -= 1
        if room.pilot in self._rooms:
            self._gained[room.pilot] = room

    def take_gained(self) -> list[Room]:
        """The rooms that have come or gained something since the last call."""
        gained = list(self._gained.values())
        self._gained.clear()
        return gained

    def candidates(self, group: Group, last_pilot: str) -> Iterator[Room]:
        """Rooms with cores enough for the group's jobs: tightest first, `last_pilot` first among equals.

        A pool whose pilots have more kinds of things that the jobs don't ask for (GPUs, say) comes later.
        """
        for pool in self._pools_for(group):
            for bucket in self._by_cores[pool][group.cores :]:
                if bucket:
                    last = bucket.get(last_pilot)
                    if last is not None:
                        yield last
                    yield from [room for room in bucket.values() if room is not last]

    def emptiest(self, group: Group, most: int) -> list[Room]:
        """Up to `most` rooms that the group may use, most free cores first."""
        found: list[Room] = []
        for pool in self._pools_for(group):
            for bucket in reversed(self._by_cores[pool]):
                for room in bucket.values():
                    if len(found) == most:
                        return found
                    found.append(room)
        return found

    def validate(self, room: Room, keys: set[str]) -> None:
        """Raises AssertionError unless `keys` are booked in the room, and no amount is lost or lent twice."""
        assert self._rooms.get(room.pilot) is room, room
        assert room.bookings.keys() - {OTHERS} == keys, (room, keys)
        for name, capacity in room.capacity.items():
            booked = sum(booking.amounts.get(name, 0) for booking in room.bookings.values())
            assert room.free[name] == capacity - booked >= 0, (room, name)
        assert room.pilot in self._by_cores[room.pool][room.free["cores"]], room

    def validate_held(self) -> None:
        """Raises AssertionError unless what runs hold is what is booked."""
        held: Counter[int] = Counter()
        for room in self._rooms.values():
            for booking in room.bookings.values():
                held[booking.run] += booking.amounts.get("cores", 0)
        assert +held == +self.held, (held, self.held)

    def _pools_for(self, group: Group) -> list[str]:
        head = group.head

        def unused(pool: str) -> tuple[int, int, str]:
            room = next((room for bucket in self._by_cores[pool] for room in bucket.values()), None)
            if room is None:
                return 0, 0, pool
            return len(room.capacity.keys() - head.amounts.keys() - {"mem_mb"}), room.capacity["cores"], pool

        return sorted((pool for pool in self._by_cores if head.may_use(pool)), key=unused)
