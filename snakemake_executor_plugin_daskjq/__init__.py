"""What Snakemake's plugin registry discovers: three names, nothing else.

The registry imports this package at each start of Snakemake, also inside every job, so it must stay
cheap: no Dask, no solver, nothing that the first submitted job could import instead.
"""

from snakemake_executor_daskjq.executor import Executor, ExecutorSettings, common_settings

__all__ = ["Executor", "ExecutorSettings", "common_settings"]
