"""Which of several runs is behind the others.

What runs hold at a moment can't be equal where the jobs of one are wider than what is free: then it is over time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


class Shares:
    """The core-seconds that runs have had while all of them had jobs that wait.

    >>> shares = Shares()
    >>> shares.count({1, 2}, {1: 4}, 10.0); shares.count({1, 2}, {1: 2, 2: 2}, 11.0)
    >>> shares.is_behind(2, 1), shares.is_behind(1, 2)
    (True, False)
    >>> shares.count({1, 2, 3}, {1: 2, 2: 2}, 12.0); shares.is_behind(3, 2)  # one that comes is not behind
    False
    """

    def __init__(self) -> None:
        self._had: dict[int, float] = {}
        self._held: dict[int, int] = {}
        self._at = 0.0

    def count(self, runs: Collection[int], held: Mapping[int, int], now: float) -> None:
        """`runs` have jobs that wait at `now`, and hold so many cores until the next call."""
        if len(runs) < 2:
            self._had.clear()
            return
        for run in self._had:
            self._had[run] += self._held[run] * (now - self._at)
        least = min((had for run, had in self._had.items() if run in runs), default=0.0)
        self._had = {run: self._had.get(run, least) - least for run in runs}
        self._held = {run: held.get(run, 0) for run in runs}
        self._at = now

    def had(self, run: int) -> float:
        """Core-seconds beyond those of the run that is furthest behind."""
        return self._had.get(run, 0.0)

    def is_behind(self, run: int, other: int) -> bool:
        return self.had(run) < self.had(other)
