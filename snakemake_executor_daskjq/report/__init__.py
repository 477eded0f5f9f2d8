"""Reads a run's journal, during the run or after it. Needs neither Dask nor Snakemake."""
