"""Snakemake resources -> amounts on a Dask worker, the one place where names are translated.

| Snakemake                               | on a worker | meaning                                         |
|-----------------------------------------|-------------|-------------------------------------------------|
| `threads` (`_cores`)                    | `cores`     | consumable                                      |
| `mem_mb` (MB, 10^6 bytes), `mem`        | `mem_mb`    | consumable                                      |
| `disk_mb`, `disk`                       | `disk_mb`   | consumable where the pools declare it           |
| `gpu`, `gpus`, `gpu_count`, `nvidia_gpu`| `gpu`       | consumable                                      |
| any other integer that a pool declares  | same name   | consumable                                      |
| `runtime` (minutes)                     |             | compared with the pilot's walltime              |
| `daskjq_pool`                           |             | names the only pool that may run the job        |
| `slurm_partition`, `slurm_account`,     |             | honoured where the pools run there; told where  |
| `constraint`                            |             | they don't (`unmet_labels`)                     |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import InfeasibleRequestError, UnknownPoolError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .model.pool import Pool
    from .model.request import Amounts, Request

LABELS = ("slurm_partition", "slurm_account", "constraint")
GPU_NAMES = ("gpu", "gpus", "gpu_count", "nvidia_gpu")


def amounts(resources: Mapping[str, object], declared: Iterable[str] = ()) -> Amounts:
    """What a job consumes, from its evaluated Snakemake resources.

    `declared` are the names that some pool offers beyond cores, memory and GPUs; a resource that no pool
    declares (`io`, `license_xyz` limited by `--resources`) is Snakemake's own business and passed over.
    A job holds at least one core, also with `threads: 0`: its own Snakemake process needs it.

    >>> amounts({"_cores": 2, "_nodes": 1, "mem_mb": 1500, "disk_mb": 1000, "tmpdir": "<TBD>"})
    {'cores': 2, 'mem_mb': 1500}
    >>> amounts({"_cores": 0, "mem": "1.2 GB", "gpus": "1", "licenses": 3}, declared=["licenses"])
    {'cores': 1, 'mem_mb': 1200, 'gpu': 1, 'licenses': 3}
    >>> amounts({"_cores": 1, "disk": "1 GiB"}, declared=["disk_mb"])
    {'cores': 1, 'disk_mb': 1074}
    """
    wanted: Amounts = {"cores": max(1, _integer(resources.get("_cores")) or 1)}
    mem_mb = _size_mb(resources, "mem")
    if mem_mb:
        wanted["mem_mb"] = mem_mb
    for name in GPU_NAMES:
        gpus = _integer(resources.get(name))
        if gpus:
            wanted["gpu"] = gpus
            break
    for name in declared:
        amount = _size_mb(resources, "disk") if name == "disk_mb" else _integer(resources.get(name))
        if amount:
            wanted[name] = amount
    return wanted


def runtime_s(resources: Mapping[str, object]) -> int | None:
    """The stated `runtime` in seconds (Snakemake's unit is minutes), or None.

    >>> runtime_s({"runtime": 10}), runtime_s({"runtime": 0.5}), runtime_s({})
    (600, 30, None)
    """
    value = resources.get("runtime")
    return round(value * 60) if isinstance(value, int | float) and not isinstance(value, bool) else None


def unmet_labels(resources: Mapping[str, object], pools: Iterable[Pool]) -> list[str]:
    """What a job written for the Slurm executor asks for and no pool gives, as `name=value`.

    >>> from snakemake_executor_daskjq.model.pool import Pool
    >>> main = Pool("main", "slurm", queue="main", directives=("--constraint=avx2",))
    >>> unmet_labels({"slurm_partition": "main", "slurm_account": "lab", "constraint": "avx2"}, [main])
    ['slurm_account=lab']
    """
    offered: set[tuple[str, object]] = set()
    for pool in pools:
        offered |= {("slurm_partition", pool.queue), ("slurm_account", pool.account)}
        for directive in pool.directives:
            name, _, value = directive.partition("=")
            offered.add((name.lstrip("-"), value))
    asked = [(name, resources[name]) for name in LABELS if resources.get(name)]
    return [f"{name}={value}" for name, value in asked if (name, value) not in offered]


def check_feasible(request: Request, pools: Iterable[Pool]) -> None:
    """Make sure that one pilot of some pool can hold the request.

    Raises
    ------
    InfeasibleRequestError : with the resource that rules out the most capable pool.
    UnknownPoolError : if the request is pinned to a pool that does not exist.
    """
    pools = tuple(pools)
    candidates = [pool for pool in pools if request.may_use(pool.name)]
    if not candidates:
        raise UnknownPoolError(request.rule, ", ".join(request.pools or ()), tuple(pool.name for pool in pools))
    misfits = [found for pool in candidates if (found := misfit(request, pool))]
    if len(misfits) < len(candidates):
        return
    # A resource that no pool has enough of says more than one that only this or that pool lacks.
    for resource, amount, _ in misfits:
        largest = max(_offer(pool, resource) for pool in candidates)
        if amount > largest:
            raise InfeasibleRequestError(request.rule, resource, amount, largest)
    raise InfeasibleRequestError(request.rule, *misfits[0])


def misfit(request: Request, pool: Pool) -> tuple[str, int, int] | None:
    """The first (resource, asked, offered) that rules `pool` out, or None where a pilot can hold the request."""
    for name, amount in request.amounts.items():
        if amount > _offer(pool, name):
            return name, amount, _offer(pool, name)
    if request.runtime_s is not None and pool.walltime_s is not None and request.runtime_s > pool.walltime_s:
        return "runtime", request.runtime_s, pool.walltime_s
    return None


def _offer(pool: Pool, resource: str) -> int:
    if resource == "runtime":
        return pool.walltime_s or 0
    return pool.amounts.get(resource, 0)


def _integer(value: object) -> int | None:
    """An amount given as int, or as a string of digits (`resources: gpu="1"`); None for anything else."""
    if isinstance(value, int):  # bool included: gpu=True means one
        return int(value)
    if isinstance(value, float):
        return -int(-value // 1)
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    return None


def _size_mb(resources: Mapping[str, object], name: str) -> int | None:
    """`{name}_mb`, or `{name}` as a size with a unit, in MB rounded up: a job never gets less than it asks."""
    number = _integer(resources.get(f"{name}_mb"))
    if number is not None:
        return number
    text = resources.get(name)
    if not isinstance(text, str):
        return None
    import humanfriendly

    try:
        return -(-int(humanfriendly.parse_size(text)) // 10**6)
    except (humanfriendly.InvalidSize, ValueError):  # it raises the latter for digits such as ²
        return None
