"""The runs that a controller has: what is known of each one's rules, what is to come of it, and what it used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .estimates import Estimates
from .summary import Summary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ..model.request import Request
    from ..model.usage import Usage
    from .pilots import Pilot
    from .planner import Demand


@dataclass(slots=True)
class Run:
    """One run.

    `keep_s` is how long pilots without a job are to stay for others. `has_given_up` says that its jobs that wait can't
    be placed any more, `is_ending` that it is over with the last of those that run; `never_placed` are its jobs that
    were waiting then.
    """

    began_at: float
    estimates: Estimates
    summary: Summary
    keep_s: float = 0.0
    has_given_up: bool = False
    is_ending: bool = False
    never_placed: frozenset[str] = frozenset()

    def pilot_left(self, pilot: Pilot, now: float) -> None:
        """Count what a pilot cost while this run was there."""
        self.summary.pilot_left(pilot.pool.all_cores * max(0.0, now - max(pilot.connected_at, self.began_at)))


class Runs:
    """All runs that have begun and not ended, by their numbers."""

    def __init__(self) -> None:
        self._runs: dict[int, Run] = {}
        self._kept_s = 0.0

    def __getitem__(self, number: int) -> Run:
        return self._runs[number]

    def __contains__(self, number: int) -> bool:
        return number in self._runs

    def get(self, number: int) -> Run | None:
        """None where it has ended."""
        return self._runs.get(number)

    def __iter__(self) -> Iterator[int]:
        return iter(self._runs)

    def begin(self, number: int, history: Mapping[str, Usage], keep_s: float, now: float) -> None:
        self._runs[number] = Run(now, Estimates(history), Summary(), keep_s)

    def end(self, number: int) -> None:
        last = self._runs.pop(number)
        self._kept_s = last.keep_s

    @property
    def keep_s(self) -> float:
        """So long pilots without a job stay for others, as one of the runs wants, or the last one that was there."""
        return max((run.keep_s for run in self._runs.values()), default=self._kept_s)

    def pilot_left(self, pilot: Pilot, now: float) -> None:
        """A pilot that was connected is none any more."""
        for run in self._runs.values():
            run.pilot_left(pilot, now)

    # -- what is known of their rules -----------------------------------------------------------------------------

    def expected_s(self, request: Request) -> float | None:
        """How long a job like this takes; None where nothing is known."""
        return self._runs[request.run].estimates.expected_s(request.rule, request.runtime_s)

    def urgency_s(self, run: int, rule: str, now: float) -> float:
        """Seconds from the start of a job of a run's rule to the workflow's end, along the longest way."""
        return self._runs[run].estimates.urgency_s(rule, now)

    def ahead_of(self, run: int, rule: str) -> int:
        """See `Estimates.ahead_of`."""
        return self._runs[run].estimates.ahead_of(rule)

    @property
    def are_all_submitted(self) -> bool:
        """True if it is known of all that no job is to come."""
        return all(run.estimates.is_all_submitted for run in self._runs.values())

    def soon(self, ends: Mapping[tuple[int, str], float], until: float) -> int:
        """How many jobs may become ready by `until`, given when the first running job of each run's rules ends."""
        return sum(
            run.estimates.soon({rule: end for (of, rule), end in ends.items() if of == number}, until)
            for number, run in self._runs.items()
        )

    def demands(
        self,
        waiting: Iterable[tuple[Request, int, float | None]],
        oldest: Mapping[tuple[int, str], float],
        now: float,
    ) -> list[Demand]:
        """What the planner has to find pilots for: see `Estimates.demands`."""
        lines: dict[int, list[tuple[Request, int, float | None]]] = {}
        for line in waiting:
            lines.setdefault(line[0].run, []).append(line)
        return [
            demand
            for number, own in lines.items()
            for demand in self._runs[number].estimates.demands(
                own, {rule: at for (of, rule), at in oldest.items() if of == number}, now
            )
        ]
