"""The Snakemake process' part: job -> request and job spec, outcome -> Snakemake's callbacks. No policy, no Dask."""

from .interface import Executor, common_settings

__all__ = ["Executor", "common_settings"]
