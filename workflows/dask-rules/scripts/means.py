import dask.dataframe as dd

from snakemake_executor_daskjq.rules import dask_client

with dask_client(snakemake):
    measured = dd.read_csv(list(snakemake.input))
    means = measured.groupby(["station", "hour"]).temperature.mean().compute()

means.sort_index().round(6).to_csv(snakemake.output[0])
