"""Put the loads of all countries together."""

import logging
from pathlib import Path

from _helpers import configure_logging

logger = logging.getLogger(__name__)

if __name__ == "__main__":
    if "snakemake" not in globals():
        from _helpers import mock_snakemake

        snakemake = mock_snakemake("base_network", run="base")
    configure_logging(snakemake)
    loads = [Path(path).read_text() for path in snakemake.input.load]
    facts = (snakemake.params.countries, snakemake.params.costs, snakemake.wildcards.run, len(snakemake.params.run_id))
    Path(snakemake.output.base).write_text(f"{facts}\n{''.join(loads)}")
    logger.info("countries: %s", snakemake.params["countries"])
