"""`benchmarks/replay.py`: traces in WfFormat, and what planner and placement make of them in simulated time."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from snakemake_executor_daskjq.model.pool import Pool

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def replay() -> ModuleType:
    spec = importlib.util.spec_from_file_location("replay", BENCHMARKS / "replay.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["replay"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_trace_is_read_as_wfformat_has_it(replay: ModuleType, tmp_path: Path) -> None:
    specification = [
        {"name": "split", "id": "s_1", "parents": [], "children": ["m_2"], "inputFiles": ["in"]},
        {"name": "map", "id": "m_2", "parents": ["s_1"], "children": []},
    ]
    execution = [
        {"id": "m_2", "runtimeInSeconds": 30.5, "coreCount": 64, "memoryInBytes": 1500000001},
        {"id": "s_1", "runtimeInSeconds": 10, "executedAt": "2024-01-01T00:00:00Z"},
    ]
    path = tmp_path / "trace.json"
    path.write_text(
        json.dumps({"workflow": {"specification": {"tasks": specification}, "execution": {"tasks": execution}}})
    )
    tasks = replay.read(path, 16)
    assert tasks["s_1"].request.amounts == {"cores": 1}
    assert tasks["m_2"].request.amounts == {"cores": 16, "mem_mb": 1501}
    assert tasks["m_2"].parents == {"s_1"}
    assert replay.critical_path_s(tasks) == 40.5


@pytest.mark.parametrize("name", ["1000genome", "blast", "epigenomics", "montage"])
def test_pilots_are_full_while_jobs_wait_and_the_makespan_is_near_the_bound(replay: ModuleType, name: str) -> None:
    pool = Pool("main", "slurm", cores=8, mem_mb=32000, walltime_s=replay.WALLTIME_S, max_pilots=3)
    tasks = replay.read(BENCHMARKS / "traces" / f"{name}.json.gz", 8)
    result = replay.Replay(tasks, pool, 60.0, {}).run()
    assert result.used >= replay.USED
    assert result.makespan_s <= replay.RATIO * result.bound_s
    assert result.makespan_s < replay.batch_job_each(tasks, 24, 60.0)
