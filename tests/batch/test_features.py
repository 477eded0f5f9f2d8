"""What a Snakefile and the command line can say, on a real Slurm."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence

import pytest

from ..features.case import Case, parametrize, run_together, selected
from ..features.deployment import DEPLOYMENT
from ..features.directives import DIRECTIVES
from ..features.options import OPTIONS
from ..features.test_storage import run_stored, stored, verify_stored
from ..snakefiles import MANY
from ..workflow import Workflow
from .conftest import OPTIONS as PILOTS
from .slurm import SlurmCluster


@pytest.fixture(scope="module")
def together(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, slurm: SlurmCluster
) -> Iterator[Callable[[Sequence[Case]], Workflow]]:
    """Makes one run of several cases, once."""
    runs: dict[int, Workflow] = {}

    def run(cases: Sequence[Case]) -> Workflow:
        if id(cases) not in runs:
            runs[id(cases)] = Workflow(tmp_path_factory.mktemp("features"), *PILOTS, env=slurm.env)
            run_together(selected(request, cases), runs[id(cases)])
        return runs[id(cases)]

    yield run
    assert [left for workflow in runs.values() for left in workflow.leftovers()] == []
    assert slurm.leftovers() == []


@parametrize(DIRECTIVES, system="slurm")
def test_directive(case: Case, together: Callable[[Sequence[Case]], Workflow]) -> None:
    case.verify(together(DIRECTIVES))


@parametrize(OPTIONS, system="slurm")
def test_option(case: Case, together: Callable[[Sequence[Case]], Workflow]) -> None:
    case.verify(together(OPTIONS))


@parametrize(DEPLOYMENT, system="slurm")
def test_deployment(case: Case, together: Callable[[Sequence[Case]], Workflow]) -> None:
    case.verify(together(DEPLOYMENT))


@pytest.mark.needs("rsync")
@pytest.mark.feature("--shared-fs-usage none", system="slurm")
def test_pilots_that_share_no_working_directory(workflow: Workflow) -> None:
    stored(workflow)
    assert run_stored(workflow, shared=set()) == 0, workflow.output[-3000:]
    verify_stored(workflow, common=False)


@pytest.mark.feature("Snakemake within an allocation, on its own cores", system="slurm")
@pytest.mark.parametrize("by", ["srun", "sbatch"])
def test_within_an_allocation_there_is_what_was_granted(workflow: Workflow, slurm: SlurmCluster, by: str) -> None:
    workflow.write(MANY)
    command = [sys.executable, "-m", "snakemake", "--executor", "daskjq", "--jobs", "9"]
    grant = ["--partition", "main", "--cpus-per-task", "1", "--mem", "500M", "--chdir", str(workflow.folder)]
    if by == "sbatch":
        grant += ["--wait", "--output", "batch.txt", "--wrap"]
        command = [shlex.join(command)]
    assert workflow.start_command(by, *grant, *command).wait(120) == 0, workflow.output
    (started,) = workflow.journal("run_started")
    assert [(pool["cores"], pool["mem_mb"]) for pool in started["pools"].values()] == [(1, 524)]
    assert len(workflow.journal("job_reported")) == 6
    workflow.wait_until(lambda: not slurm.queued_or_running())  # srun ends before its job does
