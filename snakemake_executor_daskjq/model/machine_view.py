"""What libraries in a job take for the machine: the job's share of it.

CPUs are pinned, so whatever asks for its affinity sees the job's. This covers what does not ask: memory, and the
number of CPUs as some languages find it.
"""

from __future__ import annotations

OWN_MB = 256
"""What a rule's own process takes beside the workers that it starts, with Dask and pandas imported."""

OWN_SHARE = 0.1
"""The same of a rule with much memory, whose own process collects results."""

GPU_NAMES = ("gpu", "gpus", "gpu_count", "nvidia_gpu")
"""Snakemake's resources by which a rule asks for GPUs; the first that is stated counts."""

GPU_VARIABLES = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
"""The variables that tell a process its GPUs, by comma."""

NO_GPU = "-1"
"""What they have where it must see none: no device has this index. (An empty value is "not set" to HIP.)"""

RECORD, RECORD_NAME = "DASKJQ_DASK_RECORD", ".daskjq-dask.jsonl"
"""The variable that tells `rules.client` where to leave what its clusters have used, and that file's name."""


def usable_mb(mem_mb: float, own_mb: float = OWN_MB) -> int:
    """How much of a job's memory the Dask workers that it starts may use together, in MB.

    The rest is for the rule's own process: `own_mb`, or a tenth, but never more than half.

    >>> usable_mb(1500), usable_mb(16000), usable_mb(300), usable_mb(1500, own_mb=400)
    (1244, 14400, 150, 1100)
    """
    return int(mem_mb - min(max(own_mb, OWN_SHARE * mem_mb), mem_mb / 2))


def variables(cores: int, tmpdir: str) -> dict[str, str]:
    """Variables from which libraries in a job learn its cores, and where to put what does not fit into memory.

    R's `mclapply` reads `MC_CORES`, Python 3.13 and later `PYTHON_CPU_COUNT` (also `multiprocessing`), Dask `DASK_*`.
    """
    return {
        "MC_CORES": str(cores),
        "PYTHON_CPU_COUNT": str(cores),
        "DASK_TEMPORARY_DIRECTORY": tmpdir,
        RECORD: f"{tmpdir}/{RECORD_NAME}",
    }
