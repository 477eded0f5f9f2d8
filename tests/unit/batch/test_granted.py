"""What a batch system granted to the job that a process runs in."""

from __future__ import annotations

import resource

import pytest

from snakemake_executor_daskjq.batch import granted

IN_SGE = {"SGE_JOB_SPOOL_DIR": "/x", "NSLOTS": "2"}


def test_grid_engines_memory_is_its_limit_of_address_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (8 * 2**30, 8 * 2**30))
    assert granted.mem_mb(IN_SGE) == 8 * 2**30 // 10**6
    assert granted.mem_mb({}) is None  # somebody else's limit
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert granted.mem_mb(IN_SGE) is None


def test_a_jobs_own_cores_take_the_place_of_the_pilots_only_where_a_batch_system_told_them() -> None:
    assert granted.core_variables(IN_SGE) == ("NSLOTS",)
    assert granted.core_variables({"NSLOTS": "2", "OMP_NUM_THREADS": "4"}) == ()
