"""Whether a job fits: the one answer for admission, placement, planner, waiting reasons and forecast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..model.pool import Pool
    from ..model.request import Request


@dataclass(frozen=True, slots=True)
class Misfit:
    """A resource of which a job asks for more than there is (`runtime`: seconds; others in the ledger's units)."""

    resource: str
    asked: int
    offered: int


def misfits(
    request: Request,
    amounts: Mapping[str, int],
    *,
    left_s: float | None = None,
    walltime_s: float | None = None,
    slack_s: float = 0.0,
    expected_s: float | None = None,
) -> list[Misfit]:
    """All that keeps a job off a pilot with these amounts at a time; empty where it fits.

    Parameters
    ----------
    amounts : what counts: all that the pilot has, or what is free of it.
    left_s : how long the pilot still runs; None where it has no end.
    walltime_s : how long a new pilot of its kind runs. No stated runtime may be longer.
    slack_s : how far a stated runtime may reach beyond the pilot's end. It is an upper bound, and without slack a job
        as long as the walltime would fit no pilot, for a little of it is always gone already.
    expected_s : how long the job is expected to take. It counts where no runtime is stated, as far as a new pilot has
        that much time: what no pilot has the time for runs where it can.

    >>> from snakemake_executor_daskjq.model.request import Request
    >>> job = Request("a", 1, "a", 1, {"cores": 2, "mem_mb": 9000}, runtime_s=600)
    >>> misfits(job, {"cores": 4, "mem_mb": 8000}, left_s=500.0, slack_s=60.0)
    [Misfit(resource='mem_mb', asked=9000, offered=8000), Misfit(resource='runtime', asked=600, offered=500)]
    >>> misfits(job, {"cores": 4, "mem_mb": 9000}, left_s=540.0, slack_s=60.0)
    []
    """
    found = [
        Misfit(name, amount, amounts.get(name, 0))
        for name, amount in request.amounts.items()
        if amount > amounts.get(name, 0)
    ]
    if left_s is not None:
        runtime_s = request.runtime_s
        if runtime_s is not None:
            if walltime_s is not None and runtime_s > walltime_s:
                found.append(Misfit("runtime", runtime_s, int(walltime_s)))
            elif runtime_s > left_s + slack_s:
                found.append(Misfit("runtime", runtime_s, max(0, int(left_s))))
        elif expected_s is not None and left_s + slack_s < expected_s <= (walltime_s or 0.0):
            found.append(Misfit("runtime", round(expected_s), max(0, int(left_s))))
    return found


def misfits_new_pilot(request: Request, pool: Pool) -> list[Misfit]:
    """What keeps a job off every pilot of the pool, for a new one has all that one of them can ever have.

    >>> from snakemake_executor_daskjq.model.pool import Pool
    >>> from snakemake_executor_daskjq.model.request import Request
    >>> misfits_new_pilot(Request("a", 1, "a", 1, {"cores": 8}), Pool("small", "slurm", cores=4, mem_mb=1000))
    [Misfit(resource='cores', asked=8, offered=4)]
    """
    return misfits(request, pool.amounts, left_s=pool.walltime_s, walltime_s=pool.walltime_s)


def could_hold(request: Request, pool: Pool) -> bool:
    """True if the pool is open to the job and its pilots can hold it."""
    return request.may_use(pool.name) and not misfits_new_pilot(request, pool)


def times(amounts: Mapping[str, int], offer: Mapping[str, int]) -> int:
    """How often such a job is in an offer.

    >>> times({"cores": 2, "mem_mb": 3000}, {"cores": 8, "mem_mb": 10000})
    3
    """
    return max(0, min(offer.get(name, 0) // amount for name, amount in amounts.items()))
