import numpy as np

from snakemake_executor_daskjq.rules import dask_client

CHUNK_MB = 20
chunks = 2 * snakemake.resources.mem_mb // CHUNK_MB


def generate(number):
    """A chunk of 20 MB."""
    return np.full(CHUNK_MB * 10**6 // 8, number, dtype=np.float64)


def total(chunk):
    return float(chunk.sum())


with dask_client(snakemake) as client:
    data = client.map(generate, range(chunks))  # all of it is kept, in memory or on disk
    sums = client.map(total, data)
    result = sum(client.gather(sums))

with open(snakemake.output[0], "w") as file:
    file.write(f"{chunks} chunks, in all {result:.0f}\n")
