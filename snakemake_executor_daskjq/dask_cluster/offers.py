"""Completes pools: what users leave open is asked of this machine, of dask-jobqueue or of the batch system."""

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

from .. import batch
from ..batch import granted
from ..errors import SettingError
from ..units import seconds
from .pilots import PilotSetup, batch_pilot_class, job_options
from .security import RunSecurity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..model.pool import Pool


def complete(pools: Iterable[Pool], cores_limit: int | None) -> tuple[Pool, ...]:
    """`pools` with their cores, memory and walltime known.

    `cores_limit` is Snakemake's `--cores`, or None; it holds for this machine only. Where this machine is all there
    is, it is what a pilot has, as with Snakemake's own local execution, be that more or less than the machine has;
    beside a batch system it is about the whole run. Where the system can be asked, a pool of
    which neither cores nor memory are known has its partition's (`batch.slurm_partitions`); one that is not named
    either, such as that of `--daskjq-system slurm` alone, becomes as many pools as the partitions call for.

    Raises
    ------
    SettingError : if a batch system's pool states no cores or no memory, or its configuration is missing.
    DiscoveryError : if the system can't tell them either.
    """
    completed: list[Pool] = []
    pools = tuple(pools)
    for pool in pools:
        system = batch.system(pool.system)
        if system.is_this_machine:
            cores = min(filter(None, (cpu_count(), granted.cores(os.environ), cores_limit)))
            if cores_limit and batch.are_this_machine(pools):
                cores = cores_limit
            mem_mb = min(filter(None, (memory_limit() // 10**6, granted.mem_mb(os.environ))))
            # No walltime: this machine takes nothing back, and nothing is refused for it.
            completed.append(replace(pool, cores=pool.cores or cores, mem_mb=pool.mem_mb or mem_mb, walltime_s=None))
            continue
        configured = _configured(pool)
        pool = _with_site(pool, configured)
        if system.discovers and not any((pool.cores, pool.mem_mb, configured["cores"], configured["memory"])):
            completed += system.discover(pool)
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


def _with_site(pool: Pool, configured: dict[str, Any]) -> Pool:
    """The site's directives and prologue hold where the pool says nothing of its own: what we add goes beside them."""
    directives = configured.get("job-extra-directives") or configured.get("job-extra") or ()
    if isinstance(directives, dict):  # HTCondor's
        directives = [f"{key} = {value}" for key, value in directives.items()]
    prologue = configured.get("job-script-prologue") or configured.get("env-extra") or ()
    return replace(pool, directives=pool.directives or tuple(directives), prologue=pool.prologue or tuple(prologue))


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
