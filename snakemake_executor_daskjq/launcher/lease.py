"""How long jobs may go on after the last word from the scheduler.

A pilot that Snakemake has lost must not go on with jobs that are started again elsewhere. So the pilot asks the
scheduler again and again to renew its lease, and passes what it is granted on to its launchers; whoever's lease runs
out ends its jobs and then itself, even when the other one is stopped or dead. A lease counts from the moment at which
the pilot has asked, and the scheduler notes a sign of life when it answers, which is later. It gives a pilot up only
when it has heard nothing for longer than a lease (`dask_cluster.fleet`), so whatever a lost pilot ran has ended
when it is.

Times are those of CLOCK_BOOTTIME: it is the same in all processes of a machine, and goes on while that sleeps.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

GRACE_S = 2.0
"""Between TERM and KILL for jobs whose result nobody waits for."""

OPERATION = "daskjq_renew_lease"
"""What a pilot asks its scheduler to do. The answer is true where the scheduler still counts on the pilot."""


def uptime_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(slots=True)
class Lease:
    """Runs out `length_s` seconds after its last renewal; never where that is None.

    >>> lease = Lease(60.0, renewed_at=100.0)
    >>> lease.renew(130.0)
    >>> lease.renew(120.0)  # an older word that comes late
    >>> lease.ends_at, lease.is_over(now=189.0), lease.is_over(now=190.0)
    (190.0, False, True)
    >>> Lease(None).is_over()
    False
    """

    length_s: float | None
    renewed_at: float = field(default_factory=uptime_s)

    def renew(self, at: float | None = None) -> None:
        """Note a word of the scheduler, heard at `at` (now)."""
        self.renewed_at = max(self.renewed_at, uptime_s() if at is None else at)

    @property
    def ends_at(self) -> float:
        return float("inf") if self.length_s is None else self.renewed_at + self.length_s

    def is_over(self, now: float | None = None) -> bool:
        return (uptime_s() if now is None else now) >= self.ends_at
