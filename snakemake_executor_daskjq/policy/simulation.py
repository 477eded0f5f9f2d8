"""A run in simulated time: drives the controller core in the place of batch system, pilots and jobs."""

from __future__ import annotations

import heapq
import itertools
import math
from typing import TYPE_CHECKING

from ..batch.base import Cause, Ended
from ..model.outcome import End, Outcome
from . import messages
from .planner import plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model.pool import Pool
    from ..model.request import Request
    from .core import Core
    from .messages import Event, Instruction


class Simulation:
    """Carries out the core's instructions in simulated time.

    Parameters
    ----------
    duration_s : how long a job takes; inf where nobody knows, and it never ends.
    queue_s : how long a pilot of a pool waits in the batch queue. None where no pilots come: then nothing happens but
        the ends of jobs.

    Does not cover the end of a pilot's walltime: whoever needs it sends `PilotDisconnected`.
    """

    def __init__(
        self, core: Core, now: float, duration_s: Callable[[Request], float], queue_s: Callable[[Pool], float] | None
    ) -> None:
        self.now = now
        self._core = core
        self._duration_s = duration_s
        self._queue_s = queue_s
        self._events: list[tuple[float, int, Event]] = []
        self._serial = itertools.count()
        self._wake = messages.WakeAt(math.inf)

    def at(self, time: float, event: Event) -> None:
        """Let `event` happen at `time`; what is over already happens now. At inf it never does."""
        if time < math.inf:
            heapq.heappush(self._events, (max(time, self.now), next(self._serial), event))

    def step(self) -> list[Instruction]:
        """Let all happen that is due next, and return what the core wanted done. Raises IndexError at the end."""
        self.now = min(self._events[0][0], self._wake.at) if self._events else self._wake.at
        if self.now == math.inf:
            raise IndexError("nothing is to happen any more")
        due: list[Event] = []
        while self._events and self._events[0][0] <= self.now:
            due.append(heapq.heappop(self._events)[2])
        if self._wake.at <= self.now:
            self._wake = messages.WakeAt(math.inf)
            due.append(messages.Woken())
        instructions = self._core.handle(*due, now=self.now)
        for instruction in instructions:
            self._carry_out(instruction)
        return instructions

    def _carry_out(self, instruction: Instruction) -> None:
        now = self.now
        match instruction:
            case messages.StartJob(request, pilot):
                ends_at = now + self._duration_s(request)
                self.at(ends_at, messages.JobEnded(request.key, pilot, _success(now, ends_at)))
            case messages.RequestPilot(pilot, pool) if self._queue_s is not None:
                self.at(now + self._queue_s(pool), messages.PilotConnected(pilot, "host"))
            case messages.BuryPilot(pilot):
                self.at(now, messages.PilotGone(pilot, Ended("", Cause.NO_FAULT)))
            case messages.MakePlan(demands, supplies) if self._queue_s is not None:
                self.at(now, messages.PlanMade(plan(demands, supplies), 0.0))
            case messages.WakeAt() if self._queue_s is not None:
                self._wake = instruction

    def adopt(self, event: messages.JobAdopted, takes_s: float) -> None:
        """A job runs already, and takes `takes_s` in all; one that is late ends at once."""
        self.at(self.now, event)
        ends_at = max(self.now, event.placed_at + takes_s)
        self.at(ends_at, messages.JobEnded(event.request.key, event.pilot, _success(event.placed_at, ends_at)))


def _success(started_at: float, ended_at: float) -> Outcome:
    return Outcome(End.SUCCEEDED, exit_status=0, started_at=started_at, ended_at=ended_at)
