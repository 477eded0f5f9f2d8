import os
from pathlib import Path

import yaml
from _helpers import configure_logging

configure_logging(snakemake)
solver = snakemake.params.solving["solver"]["name"]
facts = (
    solver,
    snakemake.params.co2limit,
    snakemake.threads,
    snakemake.resources.runtime,
    os.environ["OMP_NUM_THREADS"],
)
Path(snakemake.output.network).write_text(f"{facts}\n{Path(snakemake.input.network).read_text()}")
Path(snakemake.output.config).write_text(yaml.safe_dump(dict(snakemake.config)))
