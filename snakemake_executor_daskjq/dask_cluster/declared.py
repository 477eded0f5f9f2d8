"""What Dask workers declare as resources, in the amounts that daskjq counts, and back.

Dask's resources are numbers of any kind under any name; amounts are whole, and GPUs are counted in percent of one.
What a worker declares is rounded down and what is used of it is rounded up, so nothing is promised that is not there.
"""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING, Any

from ..model.machine_view import GPU_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..model.request import Amounts

UNLIMITED = 10**9
"""Of what has no limit: the memory in MB of a worker that states none, or a resource that is infinite."""

MB = 10**6


def offered(worker: Mapping[str, Any]) -> Amounts:
    """What a worker offers: what it declares as resources, else its threads and its memory limit.

    A name that it declares stays, also where that comes to nothing: jobs that ask for it must not run there. Of
    several names for the same (`GPU`, `gpus`) the least counts, for a job has to fit all of them.

    >>> offered({"nthreads": 2, "memory_limit": 4_000_000_000, "resources": {"licenses": 3.0, "GPU": 1}})
    {'cores': 2, 'mem_mb': 4000, 'licenses': 3, 'gpu_percent': 100}
    >>> offered({"nthreads": 2, "memory_limit": 0, "resources": {"licenses": 0.5, "GPU": 0.5}})
    {'cores': 2, 'mem_mb': 1000000000, 'licenses': 0, 'gpu_percent': 50}
    """
    declared: Amounts = {}
    for name, amount in worker["resources"].items():
        own, whole = _own_name(name), _whole(amount, name, ROUND_FLOOR)
        declared[own] = min(whole, declared.get(own, whole))
    return {"cores": worker["nthreads"], "mem_mb": int(worker["memory_limit"] or 0) // MB or UNLIMITED, **declared}


def as_pool(amounts: Amounts) -> dict[str, Any]:
    """The fields of a `Pool` whose pilots offer these amounts. A part of a GPU has no word there but the amount's own.

    >>> as_pool({"cores": 2, "mem_mb": 4000, "gpu_percent": 200, "licenses": 0})
    {'cores': 2, 'mem_mb': 4000, 'others': {'licenses': 0, 'gpu': 2}}
    >>> as_pool({"cores": 2, "mem_mb": 4000, "gpu_percent": 150})["others"]
    {'gpu_percent': 150}
    """
    others = dict(amounts)
    fields = {name: others.pop(name) for name in ("cores", "mem_mb")}
    if "gpu_percent" in others and others["gpu_percent"] % 100 == 0:
        others["gpu"] = others.pop("gpu_percent") // 100
    return {**fields, "others": others}


def share(declared: Iterable[str], amounts: Amounts) -> dict[str, float]:
    """A job's amounts as resources of a worker, by the names that the worker has for them.

    >>> share(["GPU", "licenses"], {"cores": 1, "gpu_percent": 50})
    {'GPU': 0.5}
    """
    asked = {name: amounts.get(_own_name(name), 0) / _factor(name) for name in declared}
    return {name: amount for name, amount in asked.items() if amount}


def used(guests: Amounts, tasks: Mapping[str, float]) -> Amounts:
    """What others use of a worker, from what `visits.renew` returns.

    >>> used({"cores": 2}, {"threads": 1, "GPU": 0.5})
    {'cores': 3, 'gpu_percent': 50}
    """
    found = dict(guests)
    for name, amount in tasks.items():
        own = "cores" if name == "threads" else _own_name(name)
        found[own] = found.get(own, 0) + _whole(amount, name, ROUND_CEILING)
    return found


def _whole(amount: float, name: str, rounding: str) -> int:
    """Decimal, for 0.29 GPUs are 29 percent, and not the 28.999999999999996 that a float makes of it."""
    if math.isnan(amount) or amount <= 0:
        return 0
    if amount >= UNLIMITED:
        return UNLIMITED
    return int((Decimal(str(amount)) * _factor(name)).to_integral_value(rounding))


def _own_name(name: str) -> str:
    """What a resource of a worker is called here: Dask's documentation has GPU, other names are Snakemake's."""
    return "gpu_percent" if name.lower() in GPU_NAMES else name


def _factor(name: str) -> int:
    return 100 if name.lower() in GPU_NAMES else 1
