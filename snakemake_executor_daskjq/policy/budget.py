"""How many cores, and core-hours, a controller's pilots may have together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .pilots import Pilot


@dataclass(frozen=True, slots=True)
class Budget:
    """What is allowed in all; None for no limit.

    Attributes
    ----------
    max_cores : cores of all pilots together that are requested, queued or running.
    max_core_hours : core-hours of connected pilots after which none is requested any more.
    """

    max_cores: int | None = None
    max_core_hours: float | None = None


NO_LIMIT = Budget()


@dataclass(slots=True)
class Spending:
    """What pilots have had of a budget; `left_core_s` are the core-seconds of those that have left.

    >>> spending = Spending(Budget(max_cores=10, max_core_hours=2), left_core_s=7200.0)
    >>> spending.cores_left([]), spending.is_over([], now=0.0)
    (10, True)
    """

    budget: Budget = NO_LIMIT
    left_core_s: float = 0.0
    is_told: bool = False

    def cores_left(self, pilots: Iterable[Pilot]) -> float:
        """How many cores may be requested beside those that pilots have, or will have; inf for any."""
        if self.budget.max_cores is None:
            return math.inf
        held = sum(pilot.pool.all_cores for pilot in pilots if pilot.is_coming or pilot.is_running)
        return max(0, self.budget.max_cores - held)

    def is_over(self, pilots: Iterable[Pilot], now: float) -> bool:
        """Whether pilots have used all core-hours that they may."""
        if self.budget.max_core_hours is None:
            return False
        running = sum(pilot.pool.all_cores * (now - pilot.connected_at) for pilot in pilots if pilot.is_running)
        return self.left_core_s + running >= 3600 * self.budget.max_core_hours

    def words(self) -> str:
        """What to tell when it is over; "" where that was told."""
        if self.is_told:
            return ""
        self.is_told = True
        return (
            f"The pilots have used the {self.budget.max_core_hours:g} core-hours that they may "
            "(--daskjq-max-core-hours): no more of them are requested, those that run go on."
        )
