import glob
import os

import numpy as np
import pandas as pd
from snakemake.utils import validate

validate(config, schema="../schemas/config.schema.yaml")

samples = (
    pd.read_csv(config["samples"], sep="\t", dtype={"sample_name": str})
    .set_index("sample_name", drop=False)
    .sort_index()
)
validate(samples, schema="../schemas/samples.schema.yaml")

units = (
    pd.read_csv(config["units"], sep="\t", dtype={"sample_name": str, "unit_name": str})
    .set_index(["sample_name", "unit_name"], drop=False)
    .sort_index()
)
validate(units, schema="../schemas/units.schema.yaml")

TOTAL_UNITS = int(np.sum(units.groupby(level=0).size().to_numpy()))


wildcard_constraints:
    sample="|".join(samples["sample_name"]),
    unit="|".join(units["unit_name"].unique()),


def get_fq(wildcards):
    row = units.loc[(wildcards.sample, wildcards.unit)]
    return [row["fq1"], row["fq2"]]


def sample(name):
    """Real workflows have functions of such names."""
    return units.loc[name]


def get_bams(wildcards):
    return [
        f"results/star/{row.sample_name}_{row.unit_name}/Aligned.bam" for row in units.itertuples()
    ]


def get_strandedness(wildcards):
    return units["strandedness"].fillna("none").tolist()


def get_adapters(wildcards):
    adapters = sample(wildcards.sample).loc[wildcards.unit, "adapters"]
    return "" if pd.isna(adapters) else adapters


def get_final_output():
    final_output = expand(
        "results/diffexp/{contrast}.diffexp.tsv", contrast=config["diffexp"]["contrasts"]
    )
    if config["pca"]["activate"]:
        final_output += expand("results/pca.{label}.svg", label=config["pca"]["labels"])
    return final_output
