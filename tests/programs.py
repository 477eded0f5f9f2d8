"""What tests need beyond Python, and the Debian packages that bring it; a test without it is skipped, and says so.

`python -m tests.programs` lists the packages that this machine lacks, which `tests/run` installs.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

SLURM = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "sinfo", "scontrol")
GRID_ENGINE = ("sge_qmaster", "sge_execd", "qconf", "qhost", "qsub", "qstat", "qdel", "qacct")
VARIANT_CALLING = ("bwa", "samtools", "wgsim", "bcftools")
MPI = ("mpicc", "mpirun")
MODULES = "/usr/share/modules/init/bash"

PACKAGES = {
    **dict.fromkeys(SLURM, "slurm-wlm"),
    "munged": "munge",
    **dict.fromkeys(GRID_ENGINE, "gridengine-client"),
    "sge_qmaster": "gridengine-master",
    "sge_execd": "gridengine-exec",
    **dict.fromkeys(VARIANT_CALLING, "samtools"),
    "bwa": "bwa",
    "bcftools": "bcftools",
    "mpicc": "libopenmpi-dev",
    "mpirun": "openmpi-bin",
    "rsync": "rsync",
    "Rscript": "r-base-core",
    MODULES: "environment-modules",
}
"""Package of each program, or of each file if it has a path."""


def missing(needs: Iterable[str]) -> list[str]:
    """Those of the programs and files that are not there.

    >>> missing(["sh", "/", "no-such-program"])
    ['no-such-program']
    """
    return [need for need in needs if not (Path(need).exists() if need.startswith("/") else shutil.which(need))]


def lack(needs: Iterable[str]) -> str:
    """Why a test with these needs can't run here, or nothing; `root` is a need too.

    >>> lack(["sh"])
    ''
    >>> lack(["sh", "no-such-program"])
    'needs no-such-program'
    """
    needs = set(needs)
    absent = sorted(missing(needs - {"root"}))
    packages = _packages(absent)
    if "root" in needs and os.geteuid() != 0:
        absent.append("to be run by root")
    return f"needs {', '.join(absent)}" * bool(absent) + f" (Debian: {' '.join(packages)})" * bool(packages)


def _packages(needs: Iterable[str]) -> list[str]:
    return sorted({PACKAGES[need] for need in needs if need in PACKAGES})


if __name__ == "__main__":
    print(*_packages(missing(PACKAGES)), sep="\n")
