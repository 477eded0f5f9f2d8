"""Completes pools: what the user left open is asked of this machine, or of the dask-jobqueue configuration."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import dask.config
from dask.system import cpu_count
from dask.utils import parse_bytes
from distributed.system import memory_limit

from ..errors import SettingError
from ..pools import seconds

if TYPE_CHECKING:
    from ..model.pool import Pool


def complete(pool: Pool, cores_limit: int | None) -> Pool:
    """`pool` with its cores, memory and walltime known.

    `cores_limit` is Snakemake's `--cores`, or None; it holds for this machine only.

    Raises
    ------
    SettingError : if a batch system's pool states no cores or no memory, or its configuration is missing.
    """
    if pool.system == "local":
        cores = pool.cores or min(cpu_count(), cores_limit or cpu_count())
        return replace(pool, cores=cores, mem_mb=pool.mem_mb or memory_limit() // 10**6)
    import dask_jobqueue  # noqa: F401 - brings its defaults into Dask's configuration

    section = pool.config_name or pool.system
    configured = dask.config.get(f"jobqueue.{section}", None)
    if configured is None:
        known = ", ".join(sorted(dask.config.get("jobqueue", {})))
        raise SettingError("config_name", section, f"a section of the dask-jobqueue configuration ({known})")
    cores = pool.cores or configured.get("cores")
    if cores is None:
        raise SettingError("cores", None, f"a whole number from 1 (needed with --daskjq-system {pool.system})")
    mem_mb = pool.mem_mb
    if mem_mb is None and configured.get("memory") is None:
        raise SettingError("memory", None, f"a size such as 64GB (needed with --daskjq-system {pool.system})")
    if mem_mb is None:
        mem_mb = parse_bytes(configured["memory"]) // 10**6
    walltime_s = pool.walltime_s
    if walltime_s is None and configured.get("walltime"):
        walltime_s = round(seconds("walltime", str(configured["walltime"])))
    return replace(pool, cores=int(cores), mem_mb=mem_mb, walltime_s=walltime_s)
