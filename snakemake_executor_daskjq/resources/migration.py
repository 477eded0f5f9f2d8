"""Resources as workflows and profiles for the Slurm executor state them -> daskjq's own words.

| Slurm executor                          | here                                                                 |
|-----------------------------------------|----------------------------------------------------------------------|
| `cpus_per_task`                         | cores, before `threads`                                              |
| `tasks`, `tasks_per_node`               | cores: so many times those of one task; with `nodes`, on each node   |
| `tasks_per_gpu`, `cpus_per_gpu`         | cores, for each GPU                                                  |
| `mem_mb_per_cpu`                        | `mem_mb`, before it: so many times the cores                         |
| `gres` (`gpu:2`, `gpu:a100:2`)          | `gpu` and `gpu_model`; other names where the pools declare them      |
| `nodes`, or `mpi` with many tasks       | a pool whose pilots have so many nodes                               |
| `slurm_extra`                           | its options that have a word above or below; the rest is told        |
| `slurm_partition`, `slurm_account`, `constraint`, `qos`, `clusters`, `reservation`, `gpu_model`         |
|                                         | select the pools that offer them (`mapping.open_pools`)              |

`mem_mb`, `runtime` and `gpu` mean the same under both.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .. import batch
from ..batch.slurm_partitions import gpu_model_of, gpus_of
from ..model.machine_view import GPU_NAMES
from .mapping import integer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..model.pool import Pool

_EXTRA = {
    # sbatch's options in `slurm_extra` -> the resource that says the same.
    "partition": "slurm_partition",
    "p": "slurm_partition",
    "account": "slurm_account",
    "A": "slurm_account",
    "constraint": "constraint",
    "C": "constraint",
    "qos": "qos",
    "q": "qos",
    "gres": "gres",
    "clusters": "clusters",
    "cluster": "clusters",
    "M": "clusters",
    "reservation": "reservation",
    "nodes": "nodes",
    "N": "nodes",
    "ntasks": "tasks",
    "n": "tasks",
    "ntasks-per-node": "tasks_per_node",
    "cpus-per-task": "cpus_per_task",
    "c": "cpus_per_task",
    "gpus": "gpu",
    "G": "gpu",
}


@dataclass(frozen=True, slots=True)
class Translated:
    """A job's resources in daskjq's words (`_cores` and `mem_mb` are for each node), and what has none.

    Attributes
    ----------
    resources : what `mapping` reads.
    nodes, tasks, cores_per_task : how many nodes and tasks the job spans, and how wide a task is.
    passed_over : what was done with the rest, a sentence each.
    """

    resources: dict[str, object]
    nodes: int
    tasks: int
    cores_per_task: int
    passed_over: tuple[str, ...]

    @property
    def environment(self) -> dict[str, str]:
        """What Slurm would tell launchers (`srun`, `mpirun`) in a batch job of this job's own."""
        if self.tasks == 1 and self.nodes == 1:
            return {}
        each = -(-self.tasks // self.nodes)
        return {
            "SLURM_NTASKS": str(self.tasks),
            "SLURM_NPROCS": str(self.tasks),
            "SLURM_NTASKS_PER_NODE": str(each),
            "SLURM_CPUS_PER_TASK": str(self.cores_per_task),
            "SLURM_TASKS_PER_NODE": f"{each}(x{self.nodes})" if self.nodes > 1 else str(each),
        }


def translate(resources: Mapping[str, object], pools: Iterable[Pool] = ()) -> Translated:
    """Read a job's evaluated resources as the Slurm executor would.

    >>> words = {"_cores": 1, "cpus_per_task": 4, "mem_mb_per_cpu": 1800, "gres": "gpu:a100:2"}
    >>> own = translate(words).resources
    >>> own["_cores"], own["mem_mb"], own["gpu"], own["gpu_model"]
    (4, 7200, 2, 'a100')
    >>> translate({"_cores": 1, "slurm_extra": "--qos=long --mail-type=ALL"}).passed_over
    ("slurm_extra's --mail-type=ALL is passed over: jobs share their pilot's batch job, whose options are a pool's \
directives",)
    """
    own, pools = dict(resources), tuple(pools)
    passed_over = _read_extra(own) + _read_gres(own, {name for pool in pools for name in pool.others})
    own["clusters"] = next((own[name] for name in ("clusters", "cluster", "slurm_cluster") if own.get(name)), None)
    own = {name: value for name, value in own.items() if value is not None}
    gpus = next((count for name in GPU_NAMES if (count := _whole(own, name))), 0)
    nodes = _whole(own, "nodes") or 1
    tasks = _whole(own, "tasks") or 1
    if per_node := _whole(own, "tasks_per_node"):
        tasks = per_node * nodes
    if per_gpu := _whole(own, "tasks_per_gpu"):
        tasks = max(1, per_gpu * gpus)
    cores_per_task = _whole(own, "cpus_per_task") or _whole(own, "_cores") or 1
    cores = cores_per_task * tasks
    if per_gpu := _whole(own, "cpus_per_gpu"):
        cores = max(1, per_gpu * gpus)
    if own.get("mpi") and not _whole(own, "nodes"):
        nodes = _nodes_for(cores, pools)
    if pools and batch.are_this_machine(pools):
        nodes = 1  # this machine is all there is, as under Snakemake's own local execution
    own["_cores"] = -(-cores // nodes)
    own["nodes"] = nodes
    if per_core := _whole(own, "mem_mb_per_cpu"):
        own["mem_mb"] = per_core * -(-cores // nodes)
    return Translated(own, nodes, tasks, cores_per_task, tuple(passed_over))


def _whole(resources: Mapping[str, object], name: str) -> int | None:
    """A whole number from 1, or None."""
    number = integer(resources.get(name))
    return number if number is not None and number > 0 else None


def _nodes_for(cores: int, pools: Iterable[Pool]) -> int:
    """On how few nodes some pool has so many cores; 1 where none has."""
    enough = [pool.nodes for pool in pools if pool.cores is not None and pool.cores * pool.nodes >= cores]
    return min(enough, default=1)


def _read_extra(own: dict[str, object]) -> list[str]:
    """Put what `slurm_extra` says under the resource that says the same; returns what there is no word for."""
    text = own.pop("slurm_extra", None)
    if not isinstance(text, str):
        return []
    try:
        words = shlex.split(text.strip("'\" "))
    except ValueError:
        words = text.split()
    left = []
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if not equals and words and not words[0].startswith("-"):
            value = words.pop(0)
            word += f" {value}"
        known = _EXTRA.get(name.lstrip("-"))
        if known is None or not value:
            left.append(word)
        elif known == "gpu":
            own.setdefault("gres", f"gpu:{value}")
        else:
            own.setdefault(known, value)
    hint = "jobs share their pilot's batch job, whose options are a pool's directives"
    return [f"slurm_extra's {' '.join(left)} is passed over: {hint}"] if left else []


def _read_gres(own: dict[str, object], declared: set[str]) -> list[str]:
    text = own.pop("gres", None)
    if not isinstance(text, str):
        return []
    if gpus := gpus_of(text):
        own.setdefault("gpu", gpus)
        if model := gpu_model_of(text):
            own.setdefault("gpu_model", model)
    left = []
    for part in text.split(","):
        name, _, count = part.strip().partition(":")
        if name in declared and name != "gpu":
            own.setdefault(name, integer(count.rpartition(":")[2]) or 1)
        elif name not in ("gpu", ""):
            left.append(part.strip())
    return [f"gres={','.join(left)} is passed over: pools can declare it under resources"] if left else []
