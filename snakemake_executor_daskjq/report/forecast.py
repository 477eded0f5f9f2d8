"""When waiting jobs may start: the run's own placement, in simulated time, on the pilots that run now.

What it can't know: pilots that are still to come, jobs that Snakemake has not handed over yet, and how long a rule
takes of which no job has ended and that states no runtime.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from ..model.pool import PilotState
from ..policy.placement import place
from ..policy.queue import ReadyQueue
from ..policy.rooms import Ledger, Room

if TYPE_CHECKING:
    from ..model.request import Request
    from .run import Run

MOST_STARTS = 20_000
"""So many starts are simulated, a second or two of work; later ones are not told."""


def starts(run: Run, now: float) -> dict[str, tuple[float, str]]:
    """Time (seconds since the epoch) and pilot of each waiting job's start, by the job's key."""

    def expected_s(rule: str, runtime_s: int | None) -> float | None:
        return run.expected_s(rule, runtime_s)

    def end(request: Request, started_at: float) -> float:
        wall_s = expected_s(request.rule, request.runtime_s)
        return float("inf") if wall_s is None else max(now, started_at + wall_s)

    ledger, ready = Ledger(), ReadyQueue(expected_s)
    ends: list[tuple[float, str, Room]] = []  # no two of them have the same key
    for pilot in run.pilots.values():
        if pilot.state is not PilotState.RUNNING:
            continue
        pool = pilot.pool
        room = Room(pilot.name, pool.name, dict(pool.amounts), pilot.ends_at(), pool.slack_s, pool.walltime_s)
        ledger.add(room)
        for job in run.running_on(pilot.name):
            if room.fits(job.request, job.placed_at):
                ledger.book(room, job.request, ends_at := end(job.request, job.placed_at))
                heapq.heappush(ends, (ends_at, job.request.key, room))
            else:  # it waits at the pilot for one of its kind to end
                ready.push(job.request, job.placed_at)
    for job in run.jobs.values():
        if job.waits:
            ready.push(job.request, job.submitted_at)
    found: dict[str, tuple[float, str]] = {}
    clock = now
    while len(found) < MOST_STARTS:
        for request, room in place(ready, ledger, clock):
            found[request.key] = (clock, room.pilot)
            heapq.heappush(ends, (end(request, clock), request.key, room))
        if not ready or not ends or ends[0][0] == float("inf"):
            break
        clock = ends[0][0]
        while ends and ends[0][0] <= clock:
            _, key, room = heapq.heappop(ends)
            ledger.give_back(room, key)
    return found
