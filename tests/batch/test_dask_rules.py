"""The example of rules that are Dask computations gives the same on Slurm's pilots as under Snakemake's executor."""

from __future__ import annotations

import json
from pathlib import Path

from ..workflow import Workflow
from .conftest import OPTIONS
from .slurm import SlurmCluster

EXAMPLE = Path(__file__).parents[2] / "workflows" / "dask-rules" / "Snakefile"
SMALL = ("--config", "mem_mb=700", "rows=500", "--snakefile", str(EXAMPLE))


def test_the_example_gives_the_same_on_slurm_and_spills_there(tmp_path: Path, slurm: SlurmCluster) -> None:
    stock, ours = Workflow(tmp_path / "stock"), Workflow(tmp_path / "slurm", *OPTIONS, env=slurm.env)
    for workflow, executor, arguments in (
        (stock, "local", ("--cores", "2")),
        (ours, "daskjq", ("--jobs", "unlimited", "--daskjq-walltime", "1h")),
    ):
        workflow.folder.mkdir()
        assert workflow.run(*arguments, *SMALL, executor=executor) == 0, workflow.output[-3000:]
        assert workflow.leftovers() == []
    for name in ("total.txt", "means.csv"):
        assert ours.read(name) == stock.read(name)
    (ended,) = (event for event in ours.journal("job_ended") if event["key"].startswith("total"))
    assert json.loads(ended["dask"])["spilled_mb"] > 700
