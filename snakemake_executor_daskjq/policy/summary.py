"""What a run used, for its last lines."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from ..model.request import WarmStart

MANY_JOBS = 20
"""So many jobs of a rule that each parsed the Snakefile again are worth a line."""

MAX_LINES = 3


@dataclass(slots=True)
class Summary:
    """Counts of one run; core-seconds are of connected pilots and of jobs."""

    jobs_succeeded: int = 0
    jobs_failed: int = 0
    pilots: int = 0
    pilot_core_s: float = 0.0
    used_core_s: float = 0.0
    parsed_again: Counter[tuple[str, WarmStart, str]] = field(default_factory=Counter)

    def started(self, rule: str, level: WarmStart, why: str) -> None:
        """Note how warm a job was started, and why not warmer."""
        if why and level in (WarmStart.IMPORT, WarmStart.OFF):
            self.parsed_again[rule, level, why] += 1

    def job_ended(self, *, success: bool) -> None:
        if success:
            self.jobs_succeeded += 1
        else:
            self.jobs_failed += 1

    def pilot_left(self, core_s: float) -> None:
        self.pilots += 1
        self.pilot_core_s += core_s

    def used(self, core_s: float) -> None:
        self.used_core_s += core_s

    def line(self) -> str:
        """The summary for the user.

        >>> Summary(198, 2, 3, 7200.0, 5400.0).line()
        '198 jobs succeeded, 2 failed; 3 pilots, 2 core-hours, 75 % of them used'
        """
        share = f", {100 * self.used_core_s / self.pilot_core_s:.0f} % of them used" if self.pilot_core_s else ""
        failed = f", {self.jobs_failed} failed" if self.jobs_failed else ""
        return (
            f"{self.jobs_succeeded} job{'s' * (self.jobs_succeeded != 1)} succeeded{failed}; "
            f"{self.pilots} pilot{'s' * (self.pilots != 1)}, {self.pilot_core_s / 3600:.3g} core-hours{share}"
        )

    def slow_starts(self) -> list[str]:
        """What cost much more to start than it need, most jobs first.

        >>> summary = Summary()
        >>> for _ in range(120):
        ...     summary.started("fit", WarmStart.IMPORT, "its rule is Python code (run:); the Snakefile has a lock")
        >>> summary.slow_starts()
        ['120 jobs of rule fit parsed the Snakefile anew: its rule is Python code (run:); the Snakefile has a lock.']
        """
        words = {WarmStart.IMPORT: "parsed the Snakefile anew", WarmStart.OFF: "were a new Snakemake each"}
        return [
            f"{count} jobs of rule {rule} {words[level]}: {why}."
            for (rule, level, why), count in self.parsed_again.most_common(MAX_LINES)
            if count >= MANY_JOBS
        ]
