"""What batch systems granted to the job that this process runs in, by the variables that they set.

The CPU affinity and the cgroup, where the site uses them, say the same; where it doesn't, this is all that there is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import every

if TYPE_CHECKING:
    from collections.abc import Mapping


def cores(environ: Mapping[str, str]) -> int | None:
    """Cores granted on this host, None where nothing is said.

    >>> cores({"SLURM_CPUS_ON_NODE": "4"}), cores({"NSLOTS": "2"}), cores({}), cores({"NCPUS": "many"})
    (4, 2, None, None)
    """
    return min(filter(None, (one.granted_cores(environ) for one in every())), default=None)


def mem_mb(environ: Mapping[str, str]) -> int | None:
    """Memory granted on this host in MB, rounded down, None where nothing is said (Slurm's own unit is MiB).

    >>> mem_mb({"SLURM_MEM_PER_NODE": "2000"}), mem_mb({"SLURM_MEM_PER_CPU": "100", "SLURM_CPUS_ON_NODE": "3"})
    (2097, 314)
    >>> mem_mb({"SLURM_MEM_PER_NODE": "0"}), mem_mb({})
    (None, None)
    """
    return min(filter(None, (one.granted_mem_mb(environ) for one in every())), default=None)


def core_variables(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The variables that tell the cores of the batch job that this process runs in: wrong for a job within it.

    >>> core_variables({"PBS_JOBID": "12.host1", "NCPUS": "2", "OMP_NUM_THREADS": "2"})
    ('NCPUS', 'OMP_NUM_THREADS')
    >>> core_variables({"OMP_NUM_THREADS": "2"})
    ()
    """
    return tuple(name for one in every() if one.is_inside(environ) for name in one.core_variables if name in environ)
