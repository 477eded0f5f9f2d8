"""The tests that Snakemake ships for executor plugins, unmodified, on the local system."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import snakemake.common.tests

from snakemake_executor_daskjq.config.settings import ExecutorSettings

from ..s3 import s3_server

S3 = "snakemake.common.tests with storage in S3"
NOTE = "moto in the place of their MinIO server"


@pytest.mark.feature("snakemake.common.tests, which use SnakemakeApi")
class TestLocal(snakemake.common.tests.TestWorkflowsLocalStorageBase):
    __test__ = True

    def get_executor(self) -> str:
        return "daskjq"

    def get_executor_settings(self) -> ExecutorSettings:
        return ExecutorSettings()


@pytest.mark.feature(S3, note=NOTE)
class TestLocalS3(snakemake.common.tests.TestWorkflowsMinioPlayStorageBase):
    __test__ = True

    @pytest.fixture(autouse=True)
    def _server(self) -> Iterator[None]:
        with s3_server():
            yield

    def get_executor(self) -> str:
        return "daskjq"

    def get_executor_settings(self) -> ExecutorSettings:
        return ExecutorSettings()
