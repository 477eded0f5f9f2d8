"""What waits and runs, as the planner and idle pilots see it: demands, supplies, and what is to come soon."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .estimates import UNKNOWN_RUNTIME_S
from .fit import could_hold, times
from .idle import Prospects
from .planner import SPAN_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ..model.pool import Pool
    from ..model.request import Request
    from .gangs import Gangs
    from .job import Job
    from .pilots import Pilot, Pilots
    from .planner import Demand, Supply
    from .queue import ReadyQueue
    from .runs import Runs

SOON_S = 60.0
"""An idle pilot is kept for jobs that become ready within this time."""


class Work:
    """A look at the core's state; it changes nothing."""

    def __init__(self, jobs: Mapping[str, Job], ready: ReadyQueue, gangs: Gangs, pilots: Pilots, runs: Runs) -> None:
        self._jobs = jobs
        self._ready = ready
        self._gangs = gangs
        self._pilots = pilots
        self._runs = runs

    def fitting(self, request: Request) -> list[Pool]:
        """The pools whose pilots could hold it."""
        return [pool for pool in self._pilots.pools.values() if could_hold(request, pool)]

    def room_for_workers(self, leader: Request, home: Pilot) -> int:
        """How many of a leader's Dask workers all pilots together could ever hold, beside the leader on its own."""
        assert leader.workers is not None
        worker = replace(leader, amounts=leader.workers.amounts, pools=leader.workers.pools)
        room = sum(pool.max_pilots * times(worker.amounts, pool.amounts) for pool in self.fitting(worker))
        if could_hold(worker, home.pool):
            offer = home.pool.amounts
            left = {name: amount - leader.amounts.get(name, 0) for name, amount in offer.items()}
            room -= times(worker.amounts, offer) - times(worker.amounts, left)
        return room

    def running(self) -> Iterator[Job]:
        for pilot in self._pilots.all():
            yield from (self._jobs[key] for key in pilot.jobs)

    def demands(self, now: float) -> list[Demand]:
        """What waits, for the planner."""
        oldest: dict[tuple[int, str], float] = {}
        for job in self.running():
            kind = job.request.run, job.request.rule
            oldest[kind] = min(oldest.get(kind, now), job.placed_at)
        lines = [
            # Dask workers of a rule are to run at a time: none takes the place of one that has ended.
            (request, count, max(expected_s or 0.0, SPAN_S) if request.leader else expected_s)
            for request, count, expected_s in self._ready.demands(self._pilots.pools.values())
        ]
        return self._runs.demands(lines, oldest, now)

    def supplies(self, shortest: Mapping[str, Request], now: float) -> list[Supply]:
        """What pools have; running jobs of which nothing is known go on as long as the oldest of them has."""
        unknown_s = SPAN_S if self._gangs.lack_workers else UNKNOWN_RUNTIME_S  # who waits for these may hold that room
        for job in self.running():
            if self._runs.expected_s(job.request) is None:
                unknown_s = max(unknown_s, now - job.placed_at)
        return self._pilots.supplies(shortest, unknown_s, now)

    def shortest(self, demands: Iterable[Demand]) -> dict[str, Request]:
        """The waiting job that needs the least time for certain, by the pools that could run it."""
        shortest: dict[str, Request] = {}
        for demand in sorted(demands, key=lambda demand: demand.request.runtime_s or 0):
            for pool in self.fitting(demand.request):
                shortest.setdefault(pool.name, demand.request)
        return shortest

    def prospects(self, running: dict[str, int], now: float) -> Prospects:
        ends: dict[tuple[int, str], float] = {}
        for job in self.running():
            expected_s = self._runs.expected_s(job.request)
            end = job.placed_at + (UNKNOWN_RUNTIME_S if expected_s is None else expected_s)
            kind = job.request.run, job.request.rule
            ends[kind] = min(ends.get(kind, end), end)
        return Prospects(
            is_over=not self._ready and not self._gangs and self._runs.are_all_submitted,
            soon=self._runs.soon(ends, now + SOON_S),
            running=running,
        )
