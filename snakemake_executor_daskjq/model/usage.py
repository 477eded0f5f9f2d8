"""What the jobs of a rule have used."""

from __future__ import annotations

from dataclasses import dataclass

MOST_JOBS = 1000
"""Older jobs than about that many count ever less in the means."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Of the jobs of one rule that succeeded.

    Attributes
    ----------
    jobs : how many, at most `MOST_JOBS`.
    wall_s, cpu_s : means of one job.
    peak_mem_mb : the largest so far (MB of 10^6 bytes).
    seen : when the last one ended, seconds since the epoch.
    """

    jobs: int
    wall_s: float
    cpu_s: float
    peak_mem_mb: float
    seen: float

    def and_(self, other: Usage) -> Usage:
        """Both together.

        >>> Usage(1, 10.0, 8.0, 500.0, 1.0).and_(Usage(3, 2.0, 4.0, 700.0, 2.0))
        Usage(jobs=4, wall_s=4.0, cpu_s=5.0, peak_mem_mb=700.0, seen=2.0)
        """
        jobs = self.jobs + other.jobs
        return Usage(
            min(MOST_JOBS, jobs),
            (self.jobs * self.wall_s + other.jobs * other.wall_s) / jobs,
            (self.jobs * self.cpu_s + other.jobs * other.cpu_s) / jobs,
            max(self.peak_mem_mb, other.peak_mem_mb),
            max(self.seen, other.seen),
        )
