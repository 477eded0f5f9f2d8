"""How many more pilots of each pool to ask for now.

A greedy estimate: enough pilots that the queued work keeps each of them busy for a while, never more than
could all work at the same time, never more than the pool's limit. Short jobs therefore share few pilots,
and long ones get as many as they can use. Pilots that wait in the batch queue count as if they ran.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..mapping import misfit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..model.pool import Pool
    from ..model.request import Request

SPAN_S = 300.0
"""A pilot is worth its batch job if it has at least this much to do."""

UNKNOWN_RUNTIME_S = 30.0
"""Assumed for a rule of which no job has ended yet and that states no runtime."""


@dataclass(frozen=True, slots=True)
class Demand:
    """`jobs` waiting jobs that look like `request` and take about `expected_s` seconds each."""

    request: Request
    jobs: int
    expected_s: float


def plan(
    demands: Iterable[Demand],
    pools: Iterable[Pool],
    running: Mapping[str, int],
    coming: Mapping[str, int],
    ending: Mapping[str, int],
) -> dict[str, int]:
    """How many pilots to request, by pool name; pools that need none are left out.

    Parameters
    ----------
    demands : the waiting jobs.
    pools : completed pools; a job counts for the first that can hold it.
    running : connected pilots by pool, on which some of these jobs could still end.
    coming : pilots requested or in the batch queue, by pool.
    ending : connected pilots with too little walltime left for these jobs; they count for the limit only.
    """
    pools = tuple(pools)
    at_once = dict.fromkeys((pool.name for pool in pools), 0.0)  # pilots that the jobs would fill side by side
    worth_s = dict.fromkeys((pool.name for pool in pools), 0.0)  # seconds that they would keep one pilot full
    for demand in demands:
        pool = pool_for(demand.request, pools)
        if pool is not None:
            share = demand.jobs / jobs_per_pilot(demand.request, pool)
            at_once[pool.name] += share
            worth_s[pool.name] += share * demand.expected_s
    wanted: dict[str, int] = {}
    for pool in pools:
        alive = running.get(pool.name, 0) + coming.get(pool.name, 0)
        # Running pilots are full (else these jobs would not wait) but come free in time: they count against
        # what is worthwhile, not against what could work at once.
        worthwhile = math.ceil(worth_s[pool.name] / SPAN_S) - alive
        useful = math.ceil(at_once[pool.name]) - coming.get(pool.name, 0)
        needed = 1 if at_once[pool.name] > 0 and alive == 0 else 0
        more = min(max(min(worthwhile, useful), needed), pool.max_pilots - alive - ending.get(pool.name, 0))
        if more > 0:
            wanted[pool.name] = more
    return wanted


def pool_for(request: Request, pools: Iterable[Pool]) -> Pool | None:
    """The first pool whose pilots can hold the request."""
    return next((pool for pool in pools if request.may_use(pool.name) and not misfit(request, pool)), None)


def jobs_per_pilot(request: Request, pool: Pool) -> int:
    """How many such jobs one pilot can hold at a time.

    >>> from snakemake_executor_daskjq.model.pool import Pool
    >>> from snakemake_executor_daskjq.model.request import Request
    >>> pool = Pool("main", "slurm", cores=16, mem_mb=64000)
    >>> jobs_per_pilot(Request("a", 1, "a", 1, {"cores": 2, "mem_mb": 16000}), pool)
    4
    """
    offers = pool.amounts
    return max(1, min(offers.get(name, 0) // amount for name, amount in request.amounts.items() if amount))
