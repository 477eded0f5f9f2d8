"""daskjq: a Snakemake executor that runs rules as Dask futures on long-lived pilots."""
