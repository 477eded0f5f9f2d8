"""Which idle pilots end: by what is to come, and the dearest first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..model.pool import Pool

NO_MORE_WORK_S = 5.0
"""When nothing is to come, pilots end after this time: a job that has just failed may come again."""


@dataclass(frozen=True, slots=True)
class IdlePilot:
    """A connected pilot without jobs, since `since` (seconds since the epoch).

    `is_spent` says that jobs wait, and that none of those that may use it has the time to end there.
    """

    name: str
    pool: Pool
    since: float
    is_spent: bool = False


@dataclass(frozen=True, slots=True)
class Prospects:
    """What idle pilots may hope for.

    Attributes
    ----------
    is_over : no job waits, and none is to come.
    soon : how many jobs become ready soon.
    running : connected pilots by pool, for `min_pilots`.
    """

    is_over: bool
    soon: int
    running: dict[str, int]


def idle_pilots(
    idle: Iterable[IdlePilot], prospects: Prospects, now: float, keep_s: float = 0.0
) -> list[tuple[str, str]]:
    """The pilots that end, and why.

    One that no waiting job has the time for ends at once, so that its batch job is released, and all end soon when
    nothing is to come. Else a pilot ends after its pool's `idle_timeout_s`, unless it is one of `min_pilots`, or a
    job for it becomes ready soon: the cheapest are kept for those. With `keep_s`, those that have the time stay so
    long in any case: for runs to come.

    >>> from snakemake_executor_daskjq.model.pool import Pool
    >>> pool = Pool("main", "slurm", cores=4, mem_mb=8000, idle_timeout_s=60)
    >>> idle = [IdlePilot("a", pool, 0.0), IdlePilot("b", pool, 10.0), IdlePilot("c", pool, 90.0)]
    >>> idle_pilots(idle, Prospects(False, 1, {"main": 3}), now=100.0)
    [('b', 'idle')]
    >>> idle_pilots(idle, Prospects(True, 0, {"main": 3}), now=100.0)
    [('a', 'no more work'), ('b', 'no more work'), ('c', 'no more work')]
    >>> idle_pilots(idle, Prospects(True, 0, {"main": 3}), now=100.0, keep_s=95.0)
    [('a', 'no more work')]
    """
    left = dict(prospects.running)
    kept = prospects.soon
    ending: list[tuple[str, str]] = []
    for pilot in sorted(idle, key=lambda pilot: (pilot.pool.price, pilot.since)):
        name = pilot.pool.name
        if pilot.is_spent:
            why = "near its walltime"
        elif now - pilot.since < keep_s:
            continue
        elif prospects.is_over and now - pilot.since >= min(NO_MORE_WORK_S, pilot.pool.idle_timeout_s):
            why = "no more work"
        elif now - pilot.since < pilot.pool.idle_timeout_s or left.get(name, 0) <= pilot.pool.min_pilots:
            continue
        elif kept > 0:
            kept -= 1
            continue
        else:
            why = "idle"
        left[name] = left.get(name, 0) - 1
        ending.append((pilot.name, why))
    return ending
