from pathlib import Path

from _helpers import configure_logging

configure_logging(snakemake)
params = snakemake.params
text = f"{snakemake.wildcards.clusters} {sorted(params.max_hours.items())} {params.renewables}\n"
Path(snakemake.output.network).write_text(text + Path(snakemake.input.base).read_text())
