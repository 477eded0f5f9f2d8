import sys

sys.stderr = open(snakemake.log[0], "w")

import pandas as pd

counts = [pd.Series({"lines": len(open(path).readlines())}, name=path) for path in snakemake.input]
matrix = pd.concat(counts, axis=1)
matrix.columns = snakemake.params.samples
matrix = matrix.T.groupby(level=0).sum()
matrix["strands"] = len(snakemake.params.strand)
matrix.to_csv(snakemake.output[0], sep="\t")
print("counted", len(matrix), file=sys.stderr)
