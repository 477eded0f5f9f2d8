"""The Snakemake process' part: job -> request and job spec, outcome -> Snakemake's callbacks. No policy, no Dask."""

from .interface import Executor, common_settings
from .options import ExecutorSettings

__all__ = ["Executor", "ExecutorSettings", "common_settings"]
