"""The tests that Snakemake ships for executor plugins, unmodified, on Slurm."""

from __future__ import annotations

import pytest
import snakemake.common.tests

from snakemake_executor_daskjq.settings import ExecutorSettings

from .slurm import SlurmCluster


@pytest.mark.feature("snakemake.common.tests, which use SnakemakeApi", system="slurm")
class TestSlurm(snakemake.common.tests.TestWorkflowsLocalStorageBase):
    __test__ = True

    @pytest.fixture(autouse=True)
    def _on_the_test_cluster(self, slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in slurm.env.items():
            monkeypatch.setenv(name, value)

    def get_executor(self) -> str:
        return "daskjq"

    def get_executor_settings(self) -> ExecutorSettings:
        return ExecutorSettings(system="slurm", interface="lo", cores=4, memory="3GB", walltime="10m")
