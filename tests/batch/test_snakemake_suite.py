"""The tests that Snakemake ships for executor plugins, unmodified, on Slurm and on Grid Engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import snakemake.common.tests

from snakemake_executor_daskjq.config.settings import ExecutorSettings

from ..integration.test_snakemake_suite import S3
from ..s3 import s3_server
from ..workflow import MARK
from .grid_engine import GridEngine
from .slurm import SlurmCluster


class OnSlurm:
    """What all of Snakemake's classes are told here."""

    @pytest.fixture(autouse=True)
    def _on_the_test_cluster(self, slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in slurm.env.items():
            monkeypatch.setenv(name, value)

    def get_executor(self) -> str:
        return "daskjq"

    def get_executor_settings(self) -> ExecutorSettings:
        return ExecutorSettings(system="slurm", interface="lo", cores=4, memory="3GB", walltime="10m")


@pytest.mark.feature("snakemake.common.tests, which use SnakemakeApi", system="slurm")
class TestSlurm(OnSlurm, snakemake.common.tests.TestWorkflowsLocalStorageBase):
    __test__ = True


@pytest.mark.feature(S3, system="slurm")
@pytest.mark.feature("--default-storage-provider", system="slurm")
class TestSlurmS3(OnSlurm, snakemake.common.tests.TestWorkflowsMinioPlayStorageBase):
    __test__ = True

    @pytest.fixture(autouse=True)
    def _server(self) -> Iterator[None]:
        with s3_server():
            yield


@pytest.mark.feature("snakemake.common.tests with storage in S3, nothing shared", system="slurm")
class TestSlurmS3WithoutSharedFiles(TestSlurmS3):
    def get_assume_shared_fs(self) -> bool:
        return False


class TestGridEngine(snakemake.common.tests.TestWorkflowsLocalStorageBase):
    __test__ = True

    @pytest.fixture(autouse=True)
    def _on_the_test_cell(self, grid_engine: GridEngine, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in {**grid_engine.env, MARK: "suite"}.items():
            monkeypatch.setenv(name, value)
        self._directives = [grid_engine.passed_on]

    def get_executor(self) -> str:
        return "daskjq"

    def get_executor_settings(self) -> ExecutorSettings:
        shape = {"cores": 4, "memory": "3GB", "walltime": "10m", "parallel_environment": "smp"}
        return ExecutorSettings(system="sge", interface="lo", directives=self._directives, **shape)
