"""The variant-calling example gives the same bytes wherever its rules run."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from ..programs import VARIANT_CALLING
from ..workflow import Workflow
from .conftest import OPTIONS
from .slurm import SlurmCluster

SNAKEFILE = Path(__file__).parents[2] / "workflows" / "variant-calling" / "Snakefile"
SMALL = ("--config", "samples=3", "chromosomes=2", "regions_per_chromosome=2", "--snakefile", str(SNAKEFILE))


def results(workflow: Workflow) -> dict[str, str]:
    folder = workflow.folder / "results"
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.mark.needs(*VARIANT_CALLING)
def test_local_executor_this_machine_and_slurm_give_the_same_bytes(tmp_path: Path, slurm: SlurmCluster) -> None:
    runs = {
        "stock": (Workflow(tmp_path / "stock"), "local", ("--cores", "2")),
        "local": (Workflow(tmp_path / "local"), "daskjq", ("--jobs", "100")),
        "slurm": (
            Workflow(tmp_path / "slurm", *OPTIONS, env=slurm.env),
            "daskjq",
            ("--jobs", "100", "--daskjq-walltime", "1h"),
        ),
    }
    for workflow, executor, arguments in runs.values():
        workflow.folder.mkdir()
        assert workflow.run(*arguments, *SMALL, executor=executor) == 0, workflow.output[-3000:]
        assert workflow.leftovers() == []
    found = {name: results(workflow) for name, (workflow, _, _) in runs.items()}
    assert set(found["stock"]) == {"calls.vcf.gz", "summary.tsv"}
    assert found["local"] == found["stock"]
    assert found["slurm"] == found["stock"]
