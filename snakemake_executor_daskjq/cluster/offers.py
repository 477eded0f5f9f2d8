"""Completes pools: what the user left open is asked of this machine, of dask-jobqueue's configuration, or of Slurm."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.config
from dask.system import cpu_count
from dask.utils import parse_bytes
from distributed.security import Security
from distributed.system import memory_limit

from .. import slurm
from ..errors import SettingError
from ..pools import name_of, seconds
from . import allocation
from .pilots import PilotSetup, batch_pilot_class, job_options
from .security import RunSecurity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..model.pool import Pool


def complete(pools: Iterable[Pool], cores_limit: int | None) -> tuple[Pool, ...]:
    """`pools` with their cores, memory and walltime known.

    `cores_limit` is Snakemake's `--cores`, or None; it holds for this machine only. Where this machine is all there
    is, it is what a pilot has, as with Snakemake's own local execution, be that more or less than the machine has;
    beside a batch system it is about the whole run. On Slurm, a pool of which
    neither cores nor memory are known has its partition's (`slurm.shapes`); one that is not named either, such as
    that of `--daskjq-system slurm` alone, becomes as many pools as the partitions call for.

    Raises
    ------
    SettingError : if a batch system's pool states no cores or no memory, or its configuration is missing.
    DiscoveryError : if Slurm can't tell them either.
    """
    completed: list[Pool] = []
    pools = tuple(pools)
    for pool in pools:
        if pool.system == "local":
            cores = min(filter(None, (cpu_count(), allocation.cores(os.environ), cores_limit)))
            if cores_limit and all(pool.system == "local" for pool in pools):
                cores = cores_limit
            mem_mb = min(filter(None, (memory_limit() // 10**6, allocation.mem_mb(os.environ))))
            # No walltime: this machine takes nothing back, and nothing is refused for it.
            completed.append(replace(pool, cores=pool.cores or cores, mem_mb=pool.mem_mb or mem_mb, walltime_s=None))
            continue
        configured = _configured(pool)
        if pool.system == "slurm" and not any((pool.cores, pool.mem_mb, configured["cores"], configured["memory"])):
            completed += _discovered(pool)
        else:
            completed.append(_stated(pool, configured))
    return tuple(completed)


def _configured(pool: Pool) -> dict[str, Any]:
    """The pool's section of the dask-jobqueue configuration."""
    import dask_jobqueue  # noqa: F401 - brings its defaults into Dask's configuration

    section = pool.config_name or pool.system
    configured = dask.config.get(f"jobqueue.{section}", None)
    if configured is None:
        known = ", ".join(sorted(dask.config.get("jobqueue", {})))
        raise SettingError("config_name", section, f"a section of the dask-jobqueue configuration ({known})")
    return {"cores": None, "memory": None, "walltime": None, **configured}


def _stated(pool: Pool, configured: dict[str, Any]) -> Pool:
    cores = pool.cores or configured["cores"]
    if cores is None:
        raise SettingError("cores", None, "a whole number from 1", _place("cores", pool))
    mem_mb = pool.mem_mb
    if mem_mb is None and configured["memory"] is None:
        raise SettingError("memory", None, "a size such as 64GB", _place("memory", pool))
    if mem_mb is None:
        mem_mb = parse_bytes(configured["memory"]) // 10**6
    walltime_s = pool.walltime_s
    if walltime_s is None and configured["walltime"]:
        walltime_s = round(seconds("walltime", str(configured["walltime"])))
    return replace(pool, cores=int(cores), mem_mb=mem_mb, walltime_s=walltime_s)


def _place(key: str, pool: Pool) -> str:
    return f"--daskjq-{key}, or {key} of pool {pool.name} in the pools file"


def _discovered(pool: Pool) -> list[Pool]:
    """What Slurm's partitions say, under all that the user says."""
    partitions = slurm.discover(pool.account)
    if pool.queue:
        shapes = [shape for one in partitions if one.name == pool.queue for shape in slurm.shapes(one)]
    else:
        shapes = slurm.usable(partitions)
    if not shapes:
        slurm.none_usable(partitions, pool.queue)
    named = pool.name != name_of(pool.queue, "slurm")
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
        for shape in (shapes[:1] if named else shapes)
    ]


def script(pool: Pool, interface: str | None) -> str:
    """The job script of a completed pool's first pilot, with RUN for the run's folder."""
    with tempfile.TemporaryDirectory() as run:  # dask-jobqueue creates the log folder
        security = RunSecurity(Security(), Path(run, "tls"))
        setup = PilotSetup(security, Path(run, "pilots"), interface, _Nobody())
        options = job_options(pool, setup)
        job: Any = batch_pilot_class(pool.system)("tls://SCHEDULER:PORT", f"{pool.name}-1", setup=setup, **options)
        return str(job.job_script()).replace(run, "RUN")


class _Nobody:
    """Hears of no pilot: none is submitted."""

    def pilot_submitted(self, pilot: str, batch_id: str) -> None: ...

    def pilot_start_failed(self, pilot: str, words: str) -> None: ...
