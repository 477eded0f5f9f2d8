"""Snakemake resources -> amounts on a Dask worker, the one place where names are translated.

| Snakemake                               | on a worker | meaning                                         |
|-----------------------------------------|-------------|-------------------------------------------------|
| `threads` (`_cores`)                    | `cores`     | consumable                                      |
| `mem_mb` (MB, 10^6 bytes), `mem`        | `mem_mb`    | consumable                                      |
| `disk_mb`, `disk`                       | `disk_mb`   | consumable where the pools declare it           |
| `gpu`, `gpus`, `gpu_count`, `nvidia_gpu`| `gpu_percent`| consumable; "0.5" is 50, half of one GPU       |
| any other integer that a pool declares  | same name   | consumable                                      |
| `runtime` (minutes)                     |             | compared with the pilot's walltime              |
| `daskjq_pool`                           |             | names the only pool that may run the job        |
| `daskjq_labels`                         |             | opens pools that require these labels           |
| `slurm_partition` and other `LABELS`    |             | select the pools that offer them; told where    |
|                                         |             | none does (`unmet_labels`)                      |
| `nodes`                                 |             | how many nodes a pilot must have                |
| `dask_workers` (`_min`), `dask_worker_threads`, | its own | jobs of the run that are the rule's Dask    |
| `dask_worker_mem_mb`                    | amounts     | workers (`dask_workers`)                        |

What only the Slurm executor knows (`cpus_per_task`, `gres` and so on) is translated before, by `migration`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import ROUND_CEILING, Decimal
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from .. import batch
from ..errors import (
    ClosedPoolsError,
    InfeasibleRequestError,
    ResourceError,
    TooFewWorkersError,
    UnknownPoolError,
    remedy,
    shown,
)
from ..model.machine_view import GPU_NAMES
from ..model.request import DaskWorkers, Request
from ..policy.fit import misfits_new_pilot, times

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from ..model.pool import Pool
    from ..model.request import Amounts

_SHARE = re.compile(r"[0-9]*\.[0-9]{1,9}")

LABELS = ("slurm_partition", "slurm_account", "constraint", "qos", "clusters", "reservation", "gpu_model")
"""What selects the pools that offer it. All but the first three are offered by a pool's directives."""

_SHORT = {"-p": "partition", "-A": "account", "-C": "constraint", "-q": "qos", "-M": "clusters"}


def amounts(resources: Mapping[str, object], declared: Iterable[str] = ()) -> Amounts:
    """What a job consumes, from its evaluated Snakemake resources.

    `declared` are the names that some pool offers beyond cores, memory and GPUs; a resource that no pool
    declares (`io`, `license_xyz` limited by `--resources`) is Snakemake's own business and passed over.
    A job holds at least one core, also with `threads: 0`: its own Snakemake process needs it.

    >>> amounts({"_cores": 2, "_nodes": 1, "mem_mb": 1500, "disk_mb": 1000, "tmpdir": "<TBD>"})
    {'cores': 2, 'mem_mb': 1500}
    >>> amounts({"_cores": 0, "mem": "1.2 GB", "gpus": "1", "licenses": 3}, declared=["licenses"])
    {'cores': 1, 'mem_mb': 1200, 'gpu_percent': 100, 'licenses': 3}
    >>> amounts({"_cores": 1, "disk": "1 GiB"}, declared=["disk_mb"])
    {'cores': 1, 'disk_mb': 1074}
    """
    wanted: Amounts = {"cores": max(1, integer(resources.get("_cores")) or 1)}
    mem_mb = _size_mb(resources, "mem")
    if mem_mb:
        wanted["mem_mb"] = mem_mb
    for name in GPU_NAMES:
        gpu_percent = _gpu_percent(resources.get(name))
        if gpu_percent:
            wanted["gpu_percent"] = gpu_percent
            break
    for name in declared:
        amount = _size_mb(resources, "disk") if name == "disk_mb" else integer(resources.get(name))
        if amount:
            wanted[name] = amount
    return {name: amount for name, amount in wanted.items() if amount > 0}


def runtime_s(resources: Mapping[str, object]) -> int | None:
    """The stated `runtime` in seconds (Snakemake's unit is minutes), or None.

    >>> runtime_s({"runtime": 10}), runtime_s({"runtime": 0.5}), runtime_s({})
    (600, 30, None)
    """
    value = resources.get("runtime")
    return round(value * 60) if isinstance(value, int | float) and not isinstance(value, bool) else None


def request_of(
    resources: Mapping[str, object],
    pools: Iterable[Pool],
    *,
    rule: str,
    members: Collection[str] = (),
    key: str = "",
    job_id: int = 0,
    attempt: int = 1,
    priority: int = 0,
) -> Request:
    """The request of a job with these evaluated resources (`migration.translate` has been over them).

    `members` are the rules of a group job, whose `rule` is the group's name.

    Raises
    ------
    UnknownPoolError, ClosedPoolsError : see `open_pools`.
    InfeasibleRequestError : see `check_feasible`.
    """
    pools = tuple(pools)
    opened = open_pools(rule, resources, pools, members)
    usable = _named(pools, opened)
    wanted = amounts(resources, {name for pool in pools for name in pool.others} - {"gpu"})
    beyond: Amounts = {}
    if batch.are_this_machine(usable):
        wanted, beyond = all_there_is(wanted, usable)
    single = open_pools(rule, {**resources, "nodes": 1}, pools, members) if resources.get("dask_workers") else opened
    workers = None if members else dask_workers(resources, rule, wanted, _named(pools, single), single)
    request = Request(key, job_id, rule, attempt, wanted, runtime_s(resources), opened, priority, beyond, workers)
    check_feasible(request, pools)
    return request


def _named(pools: Iterable[Pool], names: tuple[str, ...] | None) -> list[Pool]:
    return [pool for pool in pools if names is None or pool.name in names]


def dask_workers(
    resources: Mapping[str, object], rule: str, own: Amounts, pools: Sequence[Pool], opened: tuple[str, ...] | None
) -> DaskWorkers | None:
    """The Dask workers that a rule wants on pilots beside its own job; None for none. Those of a group have none.

    On this machine there are as many as fit; where none does, the rule has those that it starts itself.

    Raises
    ------
    ResourceError : where a resource is no whole number.
    InfeasibleRequestError, TooFewWorkersError : where no pilot can hold one, or all together not as many as it needs.

    >>> from snakemake_executor_daskjq.model.pool import Pool
    >>> pools = [Pool("main", "slurm", cores=4, mem_mb=4000, max_pilots=2)]
    >>> asked = {"dask_workers": 6, "dask_workers_min": 2, "dask_worker_mem_mb": 500}
    >>> dask_workers(asked, "a", {"cores": 1}, pools, None)
    DaskWorkers(count=6, least=2, amounts={'cores': 1, 'mem_mb': 500}, pools=None)
    >>> local = Pool("local", "local", cores=4, mem_mb=4000, max_pilots=1)
    >>> dask_workers({"dask_workers": 8}, "a", {"cores": 1}, [local], None)
    DaskWorkers(count=3, least=1, amounts={'cores': 1}, pools=None)
    """
    count = _whole(rule, resources, "dask_workers", 0)
    if count == 0:
        return None
    least = min(count, _whole(rule, resources, "dask_workers_min", 1) or 1)
    amounts = {"cores": _whole(rule, resources, "dask_worker_threads", 1) or 1}
    mem_mb = _size_mb(resources, "dask_worker_mem")
    if mem_mb is None:
        mem_mb = _whole(rule, resources, "dask_worker_mem_mb", own.get("mem_mb", 0))
    if mem_mb:
        amounts["mem_mb"] = mem_mb
    worker = Request("", 0, f"{rule} (a Dask worker of it)", 1, amounts, runtime_s(resources), opened)
    leader = replace(worker, amounts=own)
    room = _room_beside(leader, worker, pools)
    if batch.are_this_machine(pools):
        count = min(count, room)
        return DaskWorkers(count, min(least, count), amounts, opened) if count > 0 else None
    check_feasible(worker, pools)
    if least > room:
        raise TooFewWorkersError(rule, least, amounts, room)
    return DaskWorkers(count, least, amounts, opened)


def _whole(rule: str, resources: Mapping[str, object], name: str, default: int) -> int:
    """A resource that is a whole number from 0. Raises ResourceError where it is something else."""
    value = resources.get(name)
    if value is None:
        return default
    amount = integer(value)
    if amount is None or amount < 0:
        raise ResourceError(rule, name, value, "a whole number")
    return amount


def _room_beside(leader: Request, worker: Request, pools: Sequence[Pool]) -> int:
    """How many workers all pilots together can hold beside a rule's own job, where that takes the least.

    >>> from snakemake_executor_daskjq.model.pool import Pool
    >>> pool = Pool("main", "slurm", cores=4, mem_mb=4000, max_pilots=2)
    >>> leader = Request("a", 1, "a", 1, {"cores": 1, "mem_mb": 3500})
    >>> _room_beside(leader, replace(leader, amounts={"cores": 1, "mem_mb": 500}), [pool])
    5
    """

    def held(pool: Pool, offer: Amounts) -> int:
        return 0 if misfits_new_pilot(worker, pool) else times(worker.amounts, offer)

    def taken(pool: Pool) -> int:
        left = {name: amount - leader.amounts.get(name, 0) for name, amount in pool.amounts.items()}
        return held(pool, pool.amounts) - held(pool, left)

    homes = [pool for pool in pools if not misfits_new_pilot(leader, pool)]
    everywhere = sum(pool.max_pilots * held(pool, pool.amounts) for pool in pools)
    return everywhere - min(map(taken, homes), default=0)


def all_there_is(wanted: Amounts, pools: Iterable[Pool]) -> tuple[Amounts, Amounts]:
    """What a job holds of this machine, and what it asks for beyond that.

    Snakemake's own local execution refuses nothing, so neither do we: what is more than a pilot has is all of it, of
    the pool that comes closest.

    >>> from snakemake_executor_daskjq.model.pool import Pool
    >>> all_there_is({"cores": 1, "mem_mb": 64000, "gpu_percent": 100}, [Pool("local", "local", cores=2, mem_mb=8000)])
    ({'cores': 1, 'mem_mb': 8000}, {'mem_mb': 64000, 'gpu_percent': 100})
    """

    def shortfalls(pool: Pool) -> list[float]:
        return [1 - _offer(pool, name) / amount for name, amount in wanted.items() if amount > _offer(pool, name)]

    closest = min(pools, key=lambda pool: (len(shortfalls(pool)), sum(shortfalls(pool))))
    held = {name: min(amount, _offer(closest, name)) for name, amount in wanted.items()}
    beyond = {name: amount for name, amount in wanted.items() if amount > held[name]}
    return {name: amount for name, amount in held.items() if amount}, beyond


def beyond_this_machine(request: Request) -> dict[str, str]:
    """What to tell of a request that asks for more than this machine has, by resource.

    Not of threads: Snakemake scales them down without a word, too.

    >>> request = Request("a", 1, "a", 1, {"cores": 1, "mem_mb": 8000}, beyond={"mem_mb": 64000, "gpu_percent": 100})
    >>> for words in beyond_this_machine(request).values():
    ...     print(words)
    rule a asks for mem_mb=64000, this machine's pilot has 8000: the job gets all of it
    rule a asks for gpu=1, this machine's pilot declares none (--daskjq-gpus): the job runs without
    """
    told = {}
    for name, amount in request.beyond.items():
        if name == "cores":
            continue
        asks = f"rule {request.rule} asks for {shown(name, amount)}, this machine's pilot"
        if held := request.amounts.get(name):
            told[name] = f"{asks} has {shown(name, held).partition('=')[2]}: the job gets all of it"
        else:
            told[name] = f"{asks} declares none ({remedy(name)}): the job runs without"
    return told


def open_pools(
    rule: str, resources: Mapping[str, object], pools: Iterable[Pool], members: Collection[str] = ()
) -> tuple[str, ...] | None:
    """The pools whose patterns, labels and place are right for a job; None for all. Amounts are not looked at.

    `slurm_partition` and the other `LABELS` select the pools that offer them, if there are such, in that order.

    Raises
    ------
    UnknownPoolError : if the job is pinned to a pool that does not exist.
    ClosedPoolsError : if no pool admits the rule.

    >>> from snakemake_executor_daskjq.model.pool import Pool
    >>> pools = [Pool("a", "slurm", queue="main"), Pool("b", "slurm", queue="short"), Pool("c", "slurm", rules=("x*",))]
    >>> open_pools("map", {"slurm_partition": "short"}, pools), open_pools("y", {}, pools), open_pools("xy", {}, pools)
    (('b',), ('a', 'b'), None)
    """
    pools = tuple(pools)
    pin = resources.get("daskjq_pool")
    named = [pool for pool in pools if pool.name == str(pin)] if pin else list(pools)
    if not named and is_this_machine(pools):
        named = list(pools)  # the workflow was written for a cluster, and this machine is all there is
    if not named:
        raise UnknownPoolError(rule, str(pin), tuple(pool.name for pool in pools))
    reasons = {pool.name: closed(members or [rule], resources, pool) for pool in named}
    admitted = [pool for pool in named if not reasons[pool.name]]
    if not admitted:
        raise ClosedPoolsError(rule, reasons)
    for label in LABELS:
        admitted = [pool for pool in admitted if _offers(pool, label, resources.get(label))] or admitted
    return tuple(pool.name for pool in admitted) if len(admitted) < len(pools) else None


def is_this_machine(pools: Iterable[Pool]) -> bool:
    """True if there is only the local system's own pool, and the user has named none."""
    return [(pool.system, pool.name) for pool in pools] == [("local", "local")]


def closed(rules: Collection[str], resources: Mapping[str, object], pool: Pool) -> str:
    """Why the pool does not admit jobs of these rules (of several in a group), or "".

    >>> from snakemake_executor_daskjq.model.pool import Pool
    >>> closed(["map"], {"daskjq_labels": "paid,fast"}, Pool("large", "slurm", labels=("paid", "fast")))
    ''
    """
    nodes = integer(resources.get("nodes")) or 1
    if nodes != pool.nodes:
        plural = "s" * (pool.nodes > 1)
        return f"its pilots have {pool.nodes} node{plural}, the job asks for {nodes}"
    if pool.rules and not all(any(fnmatchcase(rule, pattern) for pattern in pool.rules) for rule in rules):
        return f"it is for the rules {', '.join(pool.rules)}"
    missing = set(pool.labels).difference(re.split(r"[\s,]+", str(resources.get("daskjq_labels") or "")))
    return f"it is for jobs with daskjq_labels={','.join(sorted(missing))}" if missing else ""


def unmet_labels(resources: Mapping[str, object], pools: Iterable[Pool]) -> list[str]:
    """What a job written for the Slurm executor asks for and no pool gives, as `name=value`.

    >>> from snakemake_executor_daskjq.model.pool import Pool
    >>> main = Pool("main", "slurm", queue="main", directives=("--constraint=avx2",))
    >>> unmet_labels({"slurm_partition": "main", "slurm_account": "lab", "constraint": "avx2"}, [main])
    ['slurm_account=lab']
    """
    pools = tuple(pools)
    asked = [(label, resources[label]) for label in LABELS if resources.get(label)]
    return [f"{label}={value}" for label, value in asked if not any(_offers(pool, label, value) for pool in pools)]


def _offers(pool: Pool, label: str, value: object) -> bool:
    """True if pilots of the pool run on that partition (any of several), account, kind of node, and so on."""
    key = label.removeprefix("slurm_")
    own = {"partition": pool.queue, "account": pool.account, "constraint": pool.constraint}.get(key)
    directives = _directives(pool)
    if label == "gpu_model":
        words = " ".join(
            [pool.constraint or "", *(directives.get(name, "") for name in ("constraint", "gres", "gpus"))]
        )
        return str(value) in re.split(r"[^A-Za-z0-9_.-]+", words)
    offered = own or directives.get(key, "")
    if key == "partition":
        return not set(offered.split(",")).isdisjoint(str(value).split(",")) and bool(offered)
    return bool(offered) and str(value) == offered


def _directives(pool: Pool) -> dict[str, str]:
    """A Slurm pool's directives by their long names.

    >>> from snakemake_executor_daskjq.model.pool import Pool
    >>> _directives(Pool("main", "slurm", directives=("--qos=long -M a,b", "--reservation mine")))
    {'qos': 'long', 'clusters': 'a,b', 'reservation': 'mine'}
    """
    found = {}
    for directive in pool.directives:
        for option in re.split(r"\s+(?=-)", directive.strip()):
            name, _, value = re.sub(r"\s+", "=", option, count=1).partition("=")
            found[_SHORT.get(name, name.lstrip("-"))] = value.strip("'\" ")
    return found


def check_feasible(request: Request, pools: Iterable[Pool]) -> None:
    """Make sure that one pilot of some pool that is open to the request (`open_pools`) can hold it.

    Raises
    ------
    InfeasibleRequestError : with the resource that rules out the most capable pool.
    """
    candidates = [pool for pool in pools if request.may_use(pool.name)]
    found = [misfits[0] for pool in candidates if (misfits := misfits_new_pilot(request, pool))]
    if len(found) < len(candidates):
        return
    # A resource that no pool has enough of says more than one that only this or that pool lacks.
    for misfit in found:
        largest = max(_offer(pool, misfit.resource) for pool in candidates)
        if misfit.asked > largest:
            raise InfeasibleRequestError(request.rule, misfit.resource, misfit.asked, largest, request.pools or ())
    first = found[0]
    raise InfeasibleRequestError(request.rule, first.resource, first.asked, first.offered, request.pools or ())


def ruled_out(request: Request, pool: Pool) -> str:
    """Why no pilot of the pool can ever hold the request, in words; "" where one can.

    >>> from snakemake_executor_daskjq.model.pool import Pool
    >>> from snakemake_executor_daskjq.model.request import Request
    >>> ruled_out(Request("a", 1, "a", 1, {"cores": 8}), Pool("small", "slurm", cores=4, mem_mb=1000))
    'cores=8 asked, its pilots have 4'
    """
    if not request.may_use(pool.name):
        reason = closed([request.rule], {}, pool)
        return reason if pool.rules and reason else "the job asks for other pools or nodes, or lacks a label"
    found = misfits_new_pilot(request, pool)
    if not found:
        return ""
    offered = shown(found[0].resource, found[0].offered).partition("=")[2]
    return f"{shown(found[0].resource, found[0].asked)} asked, its pilots have {offered}"


def _offer(pool: Pool, resource: str) -> int:
    if resource == "runtime":
        return pool.walltime_s or 0
    return pool.amounts.get(resource, 0)


def integer(value: object) -> int | None:
    """An amount given as int, or as a string of digits (`resources: gpu="1"`); None for anything else."""
    if isinstance(value, int):  # bool included: gpu=True means one
        return int(value)
    if isinstance(value, float):
        return -int(-value // 1)
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    return None


def _gpu_percent(value: object) -> int | None:
    """GPUs in hundredths, rounded up: a share of one GPU, or whole ones.

    Snakemake rounds a number such as 0.5 to a whole one before we see it, so shares are strings.

    >>> _gpu_percent("0.5"), _gpu_percent("0.333"), _gpu_percent("1.5"), _gpu_percent(2), _gpu_percent("a100")
    (50, 34, 200, 200, None)
    """
    if isinstance(value, str) and _SHARE.fullmatch(value.strip()):
        percent = int((Decimal(value.strip()) * 100).to_integral_value(ROUND_CEILING))
        return percent if percent <= 100 else -(-percent // 100) * 100
    whole = integer(value)
    return None if whole is None else 100 * whole


def _size_mb(resources: Mapping[str, object], name: str) -> int | None:
    """`{name}_mb`, or `{name}` as a size with a unit, in MB rounded up: a job never gets less than it asks."""
    number = integer(resources.get(f"{name}_mb"))
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
