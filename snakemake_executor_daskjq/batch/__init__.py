"""Batch systems: one class in one module for each. Nobody else asks which system a pool has.

A new system is one module with a `SYSTEM` (a `base.BatchSystem`) and one line in `_MODULES`. Modules are imported when
they are asked for, so that naming a system costs nothing. Nothing here imports Dask or dask-jobqueue: a class only
names the job class of dask-jobqueue that `dask_cluster.pilots` extends.
"""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..model.pool import Pool
    from .base import BatchSystem

_MODULES = {
    "local": "local",
    "slurm": "slurm",
    "pbs": "pbs",
    "sge": "sge",
    "lsf": "lsf",
    "oar": "oar",
    "htcondor": "htcondor",
    "moab": "moab",
    "dask": "external",
}

EXTERNAL = "dask"
"""The workers of a Dask scheduler that runs already. Users choose it by `--daskjq-scheduler`, not by its name."""

NAMES = tuple(name for name in _MODULES if name != EXTERNAL)
"""What users may name."""


@functools.cache
def system(name: str) -> BatchSystem:
    """The batch system of that name. Raises KeyError for a name that there is not.

    >>> system("slurm").queues, system("local").queues
    (True, False)
    """
    found: BatchSystem = importlib.import_module(f".{_MODULES[name]}", __name__).SYSTEM
    return found


def are_this_machine(pools: Iterable[Pool]) -> bool:
    """True if all pilots of these pools are processes of this machine."""
    return all(system(pool.system).is_this_machine for pool in pools)


def every() -> Iterator[BatchSystem]:
    return map(system, _MODULES)
