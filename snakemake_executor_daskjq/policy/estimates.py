"""How long jobs take, and what is still to come of the workflow."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from .planner import Demand

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..model.request import Outlook, Request
    from ..model.usage import Usage

UNKNOWN_RUNTIME_S = 30.0
"""Assumed where something has to be, for a rule of which nothing is known."""

URGENCIES_S = 10.0
"""The ways to the workflow's end are measured again this often."""

LOOK_AHEAD_S = 0.25
"""Jobs that take less than this keep a second one of their kind at the pilot, to start without a round trip."""

ROUND_TRIP_S = 0.05
"""Jobs that take less than this keep a few, which take so long together; but none that has ever taken `SURPRISE_S`."""

MOST_AHEAD = 4
KNOWN_JOBS = 20
SURPRISE_S = 1.0
"""A job that has run for so long has no others wait behind it, and one of its rule a single one at most."""

MEMORY_MARGIN = 1.25
"""So much more than its largest job so far is set aside for a job of a rule that states no memory."""


class Estimates:
    """What is known of rules: as measured in this run, else as stated, else as measured in earlier runs."""

    def __init__(self, history: Mapping[str, Usage]) -> None:
        self._history = history
        self._measured: dict[str, tuple[int, float]] = {}  # rule -> jobs ended, their wall seconds
        self._longest: dict[str, float] = {}
        self._follows: Mapping[str, frozenset[str]] = {}
        self._to_come: Counter[str] | None = None
        self._urgencies: dict[str, float] = {}
        self._urgencies_at = -math.inf

    def job_ended(self, rule: str, wall_s: float) -> None:
        self.measured(rule, 1, wall_s)
        self._longest[rule] = max(wall_s, self._longest.get(rule, 0.0))

    def measured(self, rule: str, more: int, wall_s: float) -> None:
        """So many `more` jobs of the rule have ended, which took `wall_s` in the mean."""
        jobs, total_s = self._measured.get(rule, (0, 0.0))
        self._measured[rule] = jobs + more, total_s + more * wall_s

    def measured_s(self, rule: str) -> float | None:
        """The mean of this run's jobs."""
        jobs, total_s = self._measured.get(rule, (0, 0.0))
        return total_s / jobs if jobs else None

    def expected_s(self, rule: str, runtime_s: float | None = None) -> float | None:
        """How long a job of the rule with that stated runtime takes; None where nothing is known."""
        measured_s = self.measured_s(rule)
        if measured_s is not None:
            return measured_s
        if runtime_s is not None:
            return runtime_s
        earlier = self._history.get(rule)
        return None if earlier is None else earlier.wall_s

    def ahead_of(self, rule: str) -> int:
        """How many jobs of the rule may be at a pilot for each that runs there, beside that."""
        measured_s = self.measured_s(rule)
        if measured_s is None or measured_s >= LOOK_AHEAD_S:
            return 0
        is_known = self._measured[rule][0] >= KNOWN_JOBS and self._longest.get(rule, 0.0) < SURPRISE_S
        if not is_known or measured_s >= ROUND_TRIP_S:
            return 1  # one that takes long has the others wait
        return max(1, min(MOST_AHEAD, math.ceil(ROUND_TRIP_S / max(measured_s, 1e-3))))

    def memory_mb(self, rule: str) -> int | None:
        """What to set aside for a job that states no memory: the rule's peak in earlier runs and a margin."""
        earlier = self._history.get(rule)
        return math.ceil(MEMORY_MARGIN * earlier.peak_mem_mb) if earlier and earlier.peak_mem_mb else None

    # -- what is to come --------------------------------------------------------------------------------------

    def learn(self, outlook: Outlook) -> None:
        """The workflow's rules as they were when the first jobs came."""
        self._follows = outlook.follows
        self._to_come = None if outlook.is_open_ended else Counter(outlook.jobs)

    def nothing_to_come(self) -> None:
        """The run ends with the jobs that run."""
        self._to_come = Counter()

    def submitted(self, rule: str) -> None:
        if self._to_come is not None:
            self._to_come[rule] -= 1

    @property
    def is_all_submitted(self) -> bool:
        """True if it is known that no job is to come."""
        return self._to_come is not None and not any(jobs > 0 for jobs in self._to_come.values())

    def soon(self, ends: Mapping[str, float], until: float) -> int:
        """How many jobs may become ready by `until`, given when the first running job of each rule ends."""
        if self._to_come is None:
            return 0
        next_rules = {rule for running, end in ends.items() if end <= until for rule in self._follows.get(running, ())}
        return sum(max(0, self._to_come[rule]) for rule in next_rules)

    def demands(
        self, waiting: Iterable[tuple[Request, int, float | None]], oldest: Mapping[str, float], now: float
    ) -> list[Demand]:
        """What the planner has to find pilots for.

        A job counts with the work that it opens the way to: where a long way lies before the workflow, a pilot
        that the waiting jobs would leave soon has its work all the same.

        Parameters
        ----------
        waiting : lines of a job like all others of the line, how many they are, and how long one is expected to take.
        oldest : when the oldest running job of each rule was placed; no job is expected to take less than it has.
        """
        lines = list(waiting)
        jobs: Counter[str] = Counter()
        for request, count, _ in lines:
            jobs[request.rule] += count
        ahead_s: dict[str, float] = {}
        return [
            Demand(
                request,
                count,
                max(expected_s or UNKNOWN_RUNTIME_S, now - oldest.get(request.rule, now))
                + self._following_s(request.rule, frozenset(), ahead_s) / jobs[request.rule],
                at_once=bool(request.leader),
            )
            for request, count, expected_s in lines
        ]

    def _following_s(self, rule: str, passed: frozenset[str], known: dict[str, float]) -> float:
        """Seconds of work to come that waits for jobs of this rule."""
        if rule not in known:
            to_come = self._to_come or Counter()
            passed |= {rule}
            known[rule] = sum(
                to_come[next_] * (self.expected_s(next_) or UNKNOWN_RUNTIME_S) + self._following_s(next_, passed, known)
                for next_ in self._follows.get(rule, frozenset()) - passed
                if to_come[next_] > 0
            )
        return known[rule]

    def urgency_s(self, rule: str, now: float) -> float:
        """Seconds from the start of a job of this rule to the workflow's end, along the longest way."""
        if now - self._urgencies_at >= URGENCIES_S:
            self._urgencies.clear()
            self._urgencies_at = now
        return self._way_s(rule, frozenset())

    def _way_s(self, rule: str, passed: frozenset[str]) -> float:
        known = self._urgencies.get(rule)
        if known is not None:
            return known
        if rule in passed:
            return 0.0  # a rule that feeds itself
        after_s = max((self._way_s(next_, passed | {rule}) for next_ in self._follows.get(rule, ())), default=0.0)
        expected_s = self.expected_s(rule)
        self._urgencies[rule] = after_s + (UNKNOWN_RUNTIME_S if expected_s is None else expected_s)
        return self._urgencies[rule]
