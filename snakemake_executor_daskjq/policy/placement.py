"""Which waiting job goes on which pilot now.

Late binding: a job stays in our own queue until a live pilot has room for it. Dask would bind it at once to
a worker whose *total* supply fits, so that early pilots pile up work and late ones idle (distributed's
`is_rootish` and `valid_workers`).

Covers vector fit over all consumables, walltime, priorities, allowed pools, and holds that keep a stream of
small jobs from starving a large one (EASY backfill: Lifka 1995, "The ANL/IBM SP scheduling system"). A round
costs by the pilots that have gained room since the last one and by the kinds of jobs that wait, not by jobs.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

from .fit import misfits
from .gangs import NEEDED
from .rooms import NOBODY

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from ..model.request import Request
    from .queue import Group, ReadyQueue
    from .rooms import Hold, Ledger, Room

HOLD_AFTER_S = 30.0
"""A job that only a smaller one stands in the way of gets a pilot held after this time, however little is known."""

ROOMS_A_HOLD = 8
"""At most one pilot in so many (and one in all cases) is held at a time, so that holds cost little."""

HOLD_RETRY_S = 1.0
"""A hold that could not be made is tried again after this time."""

LOOKED_AT = 16
"""So many pilots, the emptiest ones, are looked at for a hold."""


def place(ready: ReadyQueue, ledger: Ledger, now: float) -> list[tuple[Request, Room]]:
    """Take every job that may start now out of `ready`, book it in its room, and say where it goes.

    The run that holds the fewest cores goes first, up to where it holds more than another that has jobs to place; among
    equals the one that is behind. What a gang waits for (`policy.gangs`) goes before. A run's kinds of jobs come in the
    order of `ReadyQueue.ranked`. Best fit: the pilot with the fewest free cores that still holds the job, so that
    others stay whole for wide jobs and idle ones can end; among equals the one that ran this rule last. Within a kind,
    the largest memory that fits.
    """
    placed: list[tuple[Request, Room]] = []
    gained = ledger.take_gained()
    most_cores = max((room.free["cores"] for room in gained), default=0)
    turns: dict[int, deque[Group]] = {}
    runs: set[int] = set()
    for group in ready.ranked(now):
        if group.waiting:
            runs.add(group.run)
            if not group.is_stuck or group.cores <= most_cores:
                turns.setdefault(NOBODY if group.priority >= NEEDED else group.run, deque()).append(group)
    ledger.shares.count(runs, ledger.held, now)
    while turns:
        turn, most = _turn(turns, ledger)
        group = turns[turn][0]
        before = len(placed)
        has_no_room = not group.waiting or (group.is_stuck and group.cores > most_cores)
        if has_no_room or _placed(group, gained, ready, ledger, most, placed, now):
            turns[turn].popleft()
            if not turns[turn]:
                del turns[turn]
        if len(placed) > before:
            most_cores = max((room.free["cores"] for room in gained), default=0)
    ledger.shares.count(runs, ledger.held, now)
    return placed


def _turn(runs: Collection[int], ledger: Ledger) -> tuple[int, float]:
    """Which run places its jobs next, and up to how many cores."""
    if len(runs) == 1:
        return next(iter(runs)), math.inf
    turn = min(runs, key=lambda run: (ledger.held[run] if run else -1, ledger.shares.had(run), run))
    return turn, min(ledger.held[run] for run in runs if run != turn) if turn else math.inf


def _placed(
    group: Group,
    gained: list[Room],
    ready: ReadyQueue,
    ledger: Ledger,
    most: float,
    placed: list[tuple[Request, Room]],
    now: float,
) -> bool:
    """Place a group's jobs until its run holds more cores than `most`; True where no further one has room, or waits."""
    for room in _rooms_for(group, gained, ready, ledger):
        while group.waiting and (index := group.fitting(room, now)) is not None:
            if not _is_open(room, group, group.waiting[index][3], ready, ledger, now):
                break
            if ledger.held[group.run] > most:
                return False
            request = ready.take(group, index)
            ledger.book(room, request, math.inf if group.expected_s is None else now + group.expected_s)
            ready.last_pilot[group.run, group.rule] = room.pilot
            placed.append((request, room))
            if room.hold is not None and room.hold.group is group:
                ledger.release(room)
        if not group.waiting:
            return True
    if group.waiting:
        group.mark_stuck()
    return True


def may_start_ahead(request: Request, room: Room, ready: ReadyQueue, held: Mapping[int, int], now: float) -> bool:
    """Whether one more job of this shape at the pilot keeps no larger one waiting, and none of a run that has less."""
    if room.hold is not None:
        return False
    for group in ready.groups():
        if group.run != request.run:
            keeps_off = len(group.waiting) > 0 and held[group.run] < held[request.run]
        else:
            keeps_off = group.is_stuck and group.priority >= request.priority and group.wider_than(request)
        if keeps_off and room.could_hold(group, now):
            return False
    return True


def _rooms_for(group: Group, gained: list[Room], ready: ReadyQueue, ledger: Ledger) -> Iterable[Room]:
    last_pilot = ready.last_pilot.get((group.run, group.rule), "")
    if not group.is_stuck:
        return ledger.candidates(group, last_pilot)
    # Nothing had room for it: only what has gained some since can.
    return sorted(
        (room for room in gained if room.free["cores"] >= group.cores),
        key=lambda room: (room.free["cores"], room.pilot != last_pilot, room.pilot),
    )


def _is_open(room: Room, group: Group, request: Request, ready: ReadyQueue, ledger: Ledger, now: float) -> bool:
    """True unless `room` is held, or is to be held from now on, for a larger job that `request` would delay."""
    if ledger.holds < max(1, len(ledger) // ROOMS_A_HOLD):
        for larger in ready.groups():
            if (
                larger.is_stuck
                and larger is not group
                and now >= larger.hold_not_before
                and (larger.priority >= group.priority or larger.run != group.run)
                and larger.wider_than(request)
                and room.could_hold(larger, now)
            ):
                _hold_for(larger, group, room, ledger, now)
    hold = room.hold
    if hold is None or hold.group is group:
        return True
    is_over = hold.catches_up and hold.group.run != group.run and not _is_behind(hold.group, group, ledger)
    if is_over or not hold.group.waiting or not room.could_hold(hold.group, now):
        ledger.release(room)
        return True
    ends_in_time = group.expected_s is not None and now + group.expected_s <= hold.until
    return ends_in_time or _fits_beside(request, hold, room)


def _is_behind(group: Group, other: Group, ledger: Ledger) -> bool:
    """Whether the run of a group has less than that of another now, and had over time."""
    held = ledger.held
    return held[group.run] < held[other.run] and ledger.shares.is_behind(group.run, other.run)


def _hold_for(larger: Group, smaller: Group, room: Room, ledger: Ledger, now: float) -> None:
    """Hold a pilot for `larger`, if that is due and none is held yet; `smaller` is about to start in `room`.

    The pilot where enough is expected to be free first. Where that is unknown, or `smaller` goes before `larger` by
    rank, only a job that has waited long gets one; of another run, only one whose run is behind.
    """
    aged = now - larger.waiting[0][2] >= HOLD_AFTER_S
    catches_up = larger.run != smaller.run
    may = _is_behind(larger, smaller, ledger) if catches_up else aged or smaller.rank >= larger.rank
    if not may or larger.holds >= len(larger.waiting):
        return
    larger.hold_not_before = now + HOLD_RETRY_S
    options = [
        (_ready_at(larger, candidate, now, catches_up=catches_up), candidate)
        for candidate in [room, *ledger.emptiest(larger, LOOKED_AT)]
        if candidate.hold is None and candidate.could_hold(larger, now)
    ]
    options = [
        (ready_at, candidate)
        for ready_at, candidate in options
        if (aged or ready_at < math.inf) and candidate.could_hold(larger, ready_at if ready_at < math.inf else now)
    ]
    if options:
        ready_at, chosen = min(options, key=lambda option: (option[0], -option[1].free["cores"], option[1].pilot))
        # Where nothing is known, nothing more goes there until enough is free.
        ledger.hold(chosen, larger, ready_at if ready_at < math.inf else now, catches_up=catches_up)


def _ready_at(group: Group, room: Room, now: float, *, catches_up: bool) -> float:
    """When the group's first job is expected to fit `room`, seconds since the epoch; inf where that is unknown.

    Where its run `catches_up`, beside what that has there.
    """
    missing = {name: n - room.free.get(name, 0) for name, n in group.head.amounts.items()}
    if all(n <= 0 for n in missing.values()):
        return now
    for ends_at, amounts, run in sorted(room.bookings.values(), key=lambda booking: booking.ends_at):
        if catches_up and run == group.run:
            continue
        for name in missing:
            missing[name] -= amounts.get(name, 0)
        if all(n <= 0 for n in missing.values()):
            return max(ends_at, now)
    return math.inf


def _fits_beside(request: Request, hold: Hold, room: Room) -> bool:
    """True if `request` and the job that the pilot is held for fit it together with all that runs there then."""
    left = dict(room.capacity)
    group = hold.group
    running = [
        booking.amounts
        for booking in room.bookings.values()
        if booking.ends_at > hold.until or (hold.catches_up and booking.run == group.run)
    ]
    for amounts in (*running, group.head.amounts):
        for name, amount in amounts.items():
            left[name] = left.get(name, 0) - amount
    return min(left.values()) >= 0 and not misfits(request, left)
