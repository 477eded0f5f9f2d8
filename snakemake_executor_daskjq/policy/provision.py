"""How many pilots there are to be: more where jobs wait, fewer where none do, and when there is no hope of any."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import NoPilotError
from ..journal import events as journal
from . import messages

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .pilots import Pilots
    from .planner import Demand, Supply
    from .queue import ReadyQueue
    from .work import Work

REPLAN_S = 15.0
"""Think again about pilots this often also if nothing happens: running jobs may turn out longer than expected."""


class Provision:
    """Asks for plans, requests pilots by them, and ends idle ones. What is to be done goes to `out`."""

    def __init__(self, pilots: Pilots, ready: ReadyQueue, work: Work, out: messages.Outbox) -> None:
        self.has_given_up = False
        self._pilots = pilots
        self._ready = ready
        self._work = work
        self._out = out
        self._is_planning = False

    def upkeep(self, now: float) -> list[float]:
        """Have a plan made for what waits, and end idle pilots. When they have to be looked at again."""
        demands = self._work.demands(now) if self._ready else []
        shortest = self._work.shortest(demands)
        if demands and not self._is_planning:
            supplies = self._work.supplies(shortest, now)
            if self._gives_up(demands, supplies):
                return []
            if any(supply.most for supply in supplies):  # else there is nothing to decide
                self._is_planning = True
                self._out.add(messages.MakePlan(tuple(demands), tuple(supplies)))
        self._pilots.end_idle(lambda running: self._work.prospects(running, now), shortest, now)
        return [*([now + REPLAN_S] if self._ready else []), *self._pilots.due(now)]

    def planned(self, made: messages.PlanMade, now: float) -> None:
        """Request the pilots, within what may be requested by now."""
        self._is_planning = False
        if not self._ready or self.has_given_up:
            return  # nothing is left to request them for
        supplies = self._work.supplies(self._work.shortest(self._work.demands(now)), now)
        left = self._pilots.submissions_left(now)
        more: dict[str, int] = {}
        for supply in supplies:
            count = min(made.plan.more.get(supply.pool.name, 0), supply.most, left)
            if count:
                more[supply.pool.name] = count
                left -= count
        if more:
            plan = made.plan
            self._out.record(journal.Planned(more=more, method=plan.method, gap=plan.gap, seconds=made.seconds))
        for name, count in more.items():
            self._pilots.request(self._pilots.pools[name], count, now)

    def _gives_up(self, demands: Iterable[Demand], supplies: Iterable[Supply]) -> bool:
        """Give up where jobs wait and no pool that could run them has pilots or will get any."""
        starts = self._pilots.starts
        dead = {
            supply.pool.name
            for supply in supplies
            if starts[supply.pool.name].given_up and not supply.running + supply.coming + supply.ending
        }
        for demand in demands if dead else ():
            usable = [pool.name for pool in self._work.fitting(demand.request)]
            if usable and dead.issuperset(usable):
                failed = starts[usable[0]]
                self._out.add(messages.GiveUp(NoPilotError(usable[0], failed.failures, failed.words)))
                self.has_given_up = True
                return True
        return False
