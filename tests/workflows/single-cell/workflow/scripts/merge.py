import logging
from pathlib import Path

import pandas as pd

logging.basicConfig(filename=snakemake.log[0], level=logging.INFO, format="%(message)s")
cells = snakemake.params.cells
assert isinstance(cells, pd.DataFrame)
frame = pd.DataFrame({"file": list(snakemake.input), "size": [Path(path).stat().st_size for path in snakemake.input]})
frame["name"] = snakemake.params.normalization["name"]
frame["cells"] = cells.groupby(level=0).size().tolist()
frame.to_csv(snakemake.output[0], index=False)
logging.info("merged %d plates of %s", len(frame), snakemake.config["cells"])
