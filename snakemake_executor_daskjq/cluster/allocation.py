"""What a batch system granted to the job that this process runs in, by the variables that it set.

The CPU affinity and the cgroup, where the site uses them, say the same; where it doesn't, this is all that there is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

CORES = ("SLURM_CPUS_ON_NODE", "NCPUS", "NSLOTS", "LSB_DJOB_NUMPROC")
"""Of Slurm, PBS, SGE and LSF. `SLURM_CPUS_ON_NODE` is set within a step only, not in salloc's shell elsewhere."""

MIB = 2**20
MB = 10**6


def cores(environ: Mapping[str, str]) -> int | None:
    """Cores granted on this host, None where nothing is said.

    >>> cores({"SLURM_CPUS_ON_NODE": "4"}), cores({"NSLOTS": "2"}), cores({}), cores({"NCPUS": "many"})
    (4, 2, None, None)
    """
    granted = [int(environ[name]) for name in CORES if environ.get(name, "").isdecimal() and environ[name].isascii()]
    return min(granted) if granted and min(granted) > 0 else None


def mem_mb(environ: Mapping[str, str]) -> int | None:
    """Memory granted on this host in MB, rounded down, None where nothing is said (Slurm's own unit is MiB).

    >>> mem_mb({"SLURM_MEM_PER_NODE": "2000"}), mem_mb({"SLURM_MEM_PER_CPU": "100", "SLURM_CPUS_ON_NODE": "3"})
    (2097, 314)
    >>> mem_mb({"SLURM_MEM_PER_NODE": "0"}), mem_mb({})
    (None, None)
    """
    per_node = environ.get("SLURM_MEM_PER_NODE", "")
    per_core = environ.get("SLURM_MEM_PER_CPU", "")
    mebibytes = 0
    if per_node.isdecimal():
        mebibytes = int(per_node)
    elif per_core.isdecimal():
        mebibytes = int(per_core) * (cores(environ) or 0)
    return mebibytes * MIB // MB or None
