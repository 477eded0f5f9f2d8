"""Asks Slurm for its partitions, and chooses the shapes of pilots for them.

Covers what every Slurm tells any user: `scontrol show partition` and `sinfo`. Does not cover accounts and QOS of
the user (accounting is often switched off), nor memory that a node keeps for itself (`MemSpecLimit`).

The choice, for each partition that the user may use:

- A pilot has at most `CORES` cores of the commonest kind of node (its share of a larger one, so that it starts
  where a node is partly taken) and that share of the memory, or less where Slurm's defaults and limits say less.
- Its walltime is the partition's limit, at most `WALLTIME_S`: long requests wait long. `NAME_long` has the limit.
- `NAME_node` is a whole node of the largest kind, for jobs that no share can hold.
- `NAME_gpu` is one GPU with its share of a node, `NAME_gpus` a whole node of GPUs.
"""

from __future__ import annotations

import grp
import json
import os
import re
import subprocess
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NoReturn

from ..errors import DiscoveryError
from ..model.pool import Pool, name_of
from ..units import seconds

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

CORES = 16
WALLTIME_S = 24 * 3600
LONGEST_WALLTIME_S = 7 * 24 * 3600
"""Taken where a partition has no limit."""

TIMEOUT_S = 30.0
PARTITIONS = ("scontrol", "--oneliner", "show", "partition")
NODES = ("sinfo", "--noheader", "--format=%R|%c|%m|%G|%D")


@dataclass(frozen=True, slots=True)
class NodeKind:
    """Nodes of a partition that are alike; memory in MiB, as Slurm counts."""

    cores: int
    memory_mib: int
    gpus: int
    nodes: int


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition with what limits a pilot. `barred` says why this user can't use it, "" where they can."""

    name: str
    default: bool
    limit_s: int | None
    kinds: tuple[NodeKind, ...]
    memory_per_core_mib: int | None
    memory_per_node_mib: int | None
    cores_per_node: int | None
    barred: str


def discover(account: str | None = None) -> list[Partition]:
    """The partitions of the cluster, the default one first. Raises DiscoveryError."""
    groups = {grp.getgrgid(gid).gr_name for gid in os.getgroups() if _has_name(gid)}
    return parse(_output(PARTITIONS), _output(NODES), groups, account)


def _has_name(gid: int) -> bool:
    try:
        grp.getgrgid(gid)
    except KeyError:
        return False
    return True


def _output(command: tuple[str, ...]) -> str:
    try:
        answer = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL, check=True)
    except FileNotFoundError:
        raise DiscoveryError(f"the command {command[0]} is not there") from None
    except subprocess.CalledProcessError as error:
        words = error.stderr.decode(errors="replace").strip() or f"exit status {error.returncode}"
        raise DiscoveryError(f"{' '.join(command)}: {words}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DiscoveryError(f"{' '.join(command)}: {error}") from None
    return answer.stdout.decode(errors="replace")


def parse(partitions: str, nodes: str, groups: Collection[str], account: str | None) -> list[Partition]:
    """What the two commands said. Lines and words that make no sense are passed over."""
    kinds: dict[str, dict[tuple[int, int, int], int]] = {}
    for line in _lines(nodes):
        columns = [column.strip() for column in line.split("|")]
        if len(columns) == 5 and (cores := _count(columns[1])) and (memory := _count(columns[2])):
            of = kinds.setdefault(columns[0], {})
            kind = (cores, memory, gpus_of(columns[3]))
            of[kind] = of.get(kind, 0) + (_count(columns[4]) or 0)
    found = []
    for line in _lines(partitions):
        words = dict(re.findall(r"(\w+)=(\S*)", line))
        name = words.get("PartitionName")
        if not name or name not in kinds:
            continue
        per_core = [mib for key in ("DefMemPerCPU", "MaxMemPerCPU") if (mib := _count(words.get(key)))]
        found.append(
            Partition(
                name=name,
                default=words.get("Default") == "YES",
                limit_s=_limit_s(words.get("MaxTime", "")),
                kinds=tuple(NodeKind(*kind, nodes=count) for kind, count in kinds[name].items()),
                memory_per_core_mib=min(per_core, default=None),
                memory_per_node_mib=_count(words.get("MaxMemPerNode")),
                cores_per_node=_count(words.get("MaxCPUsPerNode")),
                barred=_barred(words, groups, account),
            )
        )
    return sorted(found, key=lambda partition: not partition.default)


def _lines(text: str) -> list[str]:
    """Lines without control characters: words of theirs are shown and written."""
    return ["".join(char for char in line if char.isprintable()) for line in text.splitlines()]


def gpus_of(gres: str) -> int:
    """GPUs of a node, from Slurm's generic resources.

    >>> gpus_of("gpu:a100:4(S:0-1),craynetwork:2"), gpus_of("gpu:2"), gpus_of("gpu"), gpus_of("(null)")
    (4, 2, 1, 0)
    """
    total = 0
    for part in re.sub(r"\([^)]*\)", "", gres).split(","):
        name, *words = part.strip().split(":")
        if name == "gpu":
            total += int(words[-1]) if words and words[-1].isdecimal() else 1
    return total


def gpu_model_of(gres: str) -> str:
    """The model that generic resources name, or "".

    >>> gpu_model_of("gpu:a100:4"), gpu_model_of("gpu:2"), gpu_model_of("gpu")
    ('a100', '', '')
    """
    found = re.search(r"(?:^|,)gpu:([A-Za-z][^:,(]*)", gres)
    return found.group(1) if found else ""


def _count(word: str | None) -> int | None:
    """A whole number from 1, also as `4+`; None for UNLIMITED, N/A, 0 and anything else."""
    number = re.fullmatch(r"([0-9]{1,12})\+?", word or "")
    return int(number.group(1)) or None if number else None


def _limit_s(word: str) -> int | None:
    if not re.fullmatch(r"(\d+-)?\d+:\d\d:\d\d", word):
        return None
    return round(seconds("walltime", word)) or None


def _barred(words: dict[str, str], groups: Collection[str], account: str | None) -> str:
    if words.get("State", "UP") != "UP":
        return f"its state is {words['State']}"
    if words.get("RootOnly") == "YES":
        return "it is for root only"
    allowed = words.get("AllowGroups", "ALL")
    if allowed not in ("ALL", "") and not set(allowed.split(",")) & set(groups):
        return f"it is for the groups {allowed}"
    accounts = words.get("AllowAccounts", "ALL")
    if accounts not in ("ALL", "") and account not in accounts.split(","):
        return f"it is for the accounts {accounts}"
    if account and account in words.get("DenyAccounts", "").split(","):
        return f"it is closed to the account {account}"
    return ""


def shapes(partition: Partition) -> list[Pool]:
    """The pools for a partition: see the head of this module."""
    limit_s = partition.limit_s or LONGEST_WALLTIME_S
    plain = [kind for kind in partition.kinds if not kind.gpus]
    pools = []
    if plain:
        common = max(plain, key=lambda kind: (kind.nodes, kind.cores))
        share = _pool(partition, "", common, _share(min(common.cores, partition.cores_per_node or common.cores)))
        pools.append(share)
        if limit_s > WALLTIME_S:
            pools.append(replace(share, name=f"{share.name}_long", walltime_s=limit_s))
        largest = max(plain, key=lambda kind: (kind.memory_mib, kind.cores))
        whole = replace(_pool(partition, "_node", largest, largest.cores), walltime_s=limit_s)
        if _exceeds(whole, share):
            pools.append(whole)
    with_gpus = [kind for kind in partition.kinds if kind.gpus]
    if with_gpus:
        common = max(with_gpus, key=lambda kind: (kind.nodes, kind.gpus))
        share = _pool(partition, "_gpu", common, max(1, common.cores // common.gpus), gpus=1)
        pools.append(share)
        largest = max(with_gpus, key=lambda kind: (kind.gpus, kind.memory_mib))
        whole = _pool(partition, "_gpus", largest, largest.cores, gpus=largest.gpus)
        if largest.gpus > 1 or _exceeds(whole, share):
            pools.append(replace(whole, walltime_s=limit_s))
    return pools


def _pool(partition: Partition, suffix: str, kind: NodeKind, cores: int, gpus: int = 0) -> Pool:
    cores = min(cores, partition.cores_per_node or cores)
    mib = kind.memory_mib * cores // kind.cores
    if cores < kind.cores and partition.memory_per_core_mib:
        mib = min(mib, partition.memory_per_core_mib * cores)
    mib = min(mib, partition.memory_per_node_mib or mib)
    if mib > 1024:
        mib -= mib % 1024  # dask-jobqueue asks for whole GiB, rounded up
    name = re.sub(r"[^A-Za-z0-9_-]", "_", partition.name)
    return Pool(
        name=f"{'' if name[0].isalpha() or name[0] == '_' else 'p'}{name}{suffix}",
        system="slurm",
        queue=partition.name,
        cores=cores,
        mem_mb=max(1, mib * 2**20 // 10**6),
        walltime_s=max(60, min(partition.limit_s or WALLTIME_S, WALLTIME_S)),
        others={"gpu": gpus} if gpus else {},
    )


def _share(cores: int) -> int:
    """The largest whole share of a node's cores that is at most `CORES`.

    >>> _share(4), _share(128), _share(40), _share(17)
    (4, 16, 10, 16)
    """
    shares = [count for count in range(CORES // 2, CORES + 1) if cores % count == 0]
    return cores if cores <= CORES else max(shares, default=CORES)


def _exceeds(pool: Pool, other: Pool) -> bool:
    return any(amount > other.amounts.get(name, 0) for name, amount in pool.amounts.items())


def usable(partitions: Iterable[Partition]) -> list[Pool]:
    """The pools of all partitions that the user may use: the first of each, then what exceeds them."""
    chosen = [shapes(partition) for partition in partitions if not partition.barred]
    pools = [pool for pools in chosen for pool in pools[:1]] + [pool for pools in chosen for pool in pools[1:]]
    named: dict[str, Pool] = {}
    for pool in pools:
        name = pool.name
        while name in named:  # partitions `a.b` and `a_b`
            name += "_"
        named[name] = replace(pool, name=name)
    return list(named.values())


def discovered(pool: Pool) -> list[Pool]:
    """What the partitions say, under all that the user says. Raises DiscoveryError."""
    partitions = discover(pool.account)
    if pool.queue:
        found = [shape for one in partitions if one.name == pool.queue for shape in shapes(one)]
    else:
        found = usable(partitions)
    if not found:
        none_usable(partitions, pool.queue)
    named = pool.name != name_of(pool.queue, pool.system)
    return [
        replace(
            pool,
            name=pool.name if named else shape.name,
            queue=shape.queue,
            cores=shape.cores,
            mem_mb=shape.mem_mb,
            walltime_s=pool.walltime_s or shape.walltime_s,
            others=pool.others or shape.others,
        )
        for shape in (found[:1] if named else found)
    ]


def none_usable(partitions: Iterable[Partition], queue: str | None = None) -> NoReturn:
    """Say that there is no such partition. Raises DiscoveryError."""
    names = ", ".join(f"{one.name} ({one.barred or 'usable'})" for one in partitions) or "none"
    raise DiscoveryError(f"no partition {queue or 'that you may use'}; there are: {names}")


def pools_file(partitions: Iterable[Partition]) -> str:
    """A first pools file, to be read and changed by the user."""
    partitions = list(partitions)
    lines = ["# Written by 'daskjq pools from-slurm': check it, and change what you know better.", "defaults:"]
    lines += ["  system: slurm", "pools:"]
    for pool in usable(partitions):
        walltime_s = pool.walltime_s or 0
        lines += [
            f"  {pool.name}:",
            f"    partition: {json.dumps(pool.queue)}",
            f"    cores: {pool.cores}",
            f"    memory: {pool.mem_mb}MB",
            *([f"    gpus: {pool.others['gpu']}"] if "gpu" in pool.others else []),
            f"    walltime: {walltime_s // 3600:02d}:{walltime_s % 3600 // 60:02d}:{walltime_s % 60:02d}",
            f"    max_pilots: {pool.max_pilots}",
        ]
    lines += [f"# Left out: partition {one.name}, because {one.barred}." for one in partitions if one.barred]
    return "\n".join(lines) + "\n"
