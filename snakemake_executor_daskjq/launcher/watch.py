"""Whether a job keeps to its `mem_mb` and its `runtime`: what its launcher samples and decides.

Memory is that of all the job's processes together. Resident sets are cheap to read and count shared pages
several times, so only where their sum is above the limit are proportional sets read. Pages of mapped files
don't count: the kernel can drop them. Not noticed is a peak between two samples, or before the first one: a job
may have used more than any sample says.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import processes

if TYPE_CHECKING:
    from collections.abc import Sequence

FIRST_SAMPLE_S = 0.5
"""Jobs that are shorter are never looked at, and cost nothing."""

INTERVAL_S = 0.5
LONGEST_INTERVAL_S = 10.0
CPU_SHARE = 0.02
"""Samples that take long (many processes, large maps) become rarer, down to one in `LONGEST_INTERVAL_S`."""

SNAKEMAKE_MB = 200.0
"""A Snakemake process of the job counts only beyond this: rules are written without it in mind."""

KILL_AFTER_S = 2.0
"""Between TERM and KILL for a job that went over a limit."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a job may use; None for any amount. `kill`: it is ended where it uses more.

    A job may go `slack_s` beyond its runtime, for its own Snakemake has to start and to end, too. Up to `own_mb`
    of each Snakemake process of the job do not count.
    """

    mem_mb: float | None = None
    runtime_s: float | None = None
    slack_s: float = 0.0
    kill: bool = True
    own_mb: float = SNAKEMAKE_MB

    def exceeded(self, used_mb: float, age_s: float) -> tuple[str, str] | None:
        """The limit that was passed (`out_of_memory` or `over_runtime`) and the figures, or None.

        >>> Bounds(mem_mb=500).exceeded(used_mb=812.3, age_s=1.0)
        ('out_of_memory', 'it used at least 813 MB, more than its mem_mb of 500')
        >>> Bounds(runtime_s=60, slack_s=30).exceeded(used_mb=1.0, age_s=89.0)
        >>> Bounds(runtime_s=60, slack_s=30).exceeded(used_mb=1.0, age_s=91.04)
        ('over_runtime', 'it ran for 91 s, longer than its runtime of 60 s')
        """
        if self.mem_mb is not None and used_mb > self.mem_mb:
            return "out_of_memory", f"it used at least {math.ceil(used_mb)} MB, more than its mem_mb of {self.mem_mb:g}"
        if self.runtime_s is not None and age_s > self.runtime_s + self.slack_s:
            return "over_runtime", f"it ran for {age_s:.0f} s, longer than its runtime of {self.runtime_s:g} s"
        return None


@dataclass(frozen=True, slots=True)
class Usage:
    """Memory of a job in MB: of all its processes, and the part of it that counts against `mem_mb`."""

    total_mb: float
    counted_mb: float


def usage(pid: int, others: Sequence[int], mem_mb: float | None, own_mb: float = SNAKEMAKE_MB) -> Usage:
    """What the job's own process `pid` and its `others` use, as exactly as `mem_mb` needs it."""
    found = _usage((pid,), others, processes.resident_mb, own_mb)
    if mem_mb is not None and found.counted_mb > mem_mb:
        # The one that deploys sources before the job, and those of members of a group, are not the rule's either.
        own = (pid, *filter(processes.is_snakemake, others))
        found = _usage(own, [other for other in others if other not in own], processes.proportional_mb, own_mb)
    return found


def _usage(own: Sequence[int], others: Sequence[int], measure: processes.Measure, own_mb: float) -> Usage:
    owns_mb, others_mb = list(map(measure, own)), sum(map(measure, others))
    return Usage(sum(owns_mb) + others_mb, sum(max(0.0, mb - own_mb) for mb in owns_mb) + others_mb)


def next_interval_s(cost_s: float) -> float:
    """The time to the next sample after one that took `cost_s`.

    >>> next_interval_s(0.001), next_interval_s(0.1), next_interval_s(3.0)
    (0.5, 5.0, 10.0)
    """
    return min(LONGEST_INTERVAL_S, max(INTERVAL_S, cost_s / CPU_SHARE))


class OomKills:
    """The kernel's count of processes that it ended for memory: in this cgroup where it tells, else on this machine."""

    def __init__(self, cgroup: str = "/proc/self/cgroup", root: str = "/sys/fs/cgroup") -> None:
        self._path = _counter_path(cgroup, root)

    def count(self) -> int:
        """0 where it can't be read."""
        try:
            with open(self._path, encoding="ascii") as file:
                return next((int(line.split()[1]) for line in file if line.startswith("oom_kill ")), 0)
        except (OSError, ValueError, IndexError):
            return 0


def _counter_path(cgroup: str, root: str) -> str:
    try:
        with open(cgroup, encoding="utf-8", errors="surrogateescape") as file:
            groups = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:
        groups = []
    for _, controllers, path in (group for group in groups if len(group) == 3):
        if controllers == "":  # version 2
            candidate = os.path.join(root, path.lstrip("/"), "memory.events")
        elif "memory" in controllers.split(","):
            candidate = os.path.join(root, "memory", path.lstrip("/"), "memory.oom_control")
        else:
            continue
        if os.path.exists(candidate):
            return candidate
    return "/proc/vmstat"
