from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..programs import GRID_ENGINE, SLURM, lack
from ..workflow import Workflow
from .grid_engine import GridEngine
from .slurm import SlurmCluster

# Loopback, and pilots of one virtual node of the test cluster.
OPTIONS = (
    *("--daskjq-system", "slurm", "--daskjq-interface", "lo"),
    *("--daskjq-cores", "4", "--daskjq-memory", "3GB", "--daskjq-walltime", "00:10:00"),
)


@pytest.fixture(scope="session")
def slurm() -> Iterator[SlurmCluster]:
    """One real Slurm for all batch tests."""
    if reason := lack([*SLURM, "root"]):
        pytest.skip(reason)
    with SlurmCluster() as cluster:
        yield cluster


@pytest.fixture
def workflow(tmp_path: Path, slurm: SlurmCluster) -> Iterator[Workflow]:
    """A workflow on the test cluster; fails the test if a process or a batch job of it is left."""
    workflow = Workflow(tmp_path, *OPTIONS, env=slurm.env)
    yield workflow
    assert workflow.leftovers() == []
    assert slurm.leftovers() == []


@pytest.fixture(scope="session")
def grid_engine() -> Iterator[GridEngine]:
    """One real Grid Engine for the tests of a process."""
    if reason := lack([*GRID_ENGINE, "root"]):
        pytest.skip(reason)
    with GridEngine() as cell:
        yield cell
