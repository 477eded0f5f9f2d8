"""The tests that Snakemake ships for executor plugins, unmodified, on the local system."""

from __future__ import annotations

import pytest
import snakemake.common.tests

from snakemake_executor_daskjq.settings import ExecutorSettings


@pytest.mark.feature("snakemake.common.tests, which use SnakemakeApi")
class TestLocal(snakemake.common.tests.TestWorkflowsLocalStorageBase):
    __test__ = True

    def get_executor(self) -> str:
        return "daskjq"

    def get_executor_settings(self) -> ExecutorSettings:
        return ExecutorSettings()
