"""`--scheduler daskjq`, on jobs as Snakemake describes them to its scheduler plugins."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from snakemake_interface_scheduler_plugins.registry import SchedulerPluginRegistry

import snakemake_scheduler_plugin_daskjq as plugin


class File(str):
    def is_flagged(self, flag: str) -> bool:
        return flag == "temp" and self.startswith("temp")


@dataclass(eq=False)
class Job:
    scheduler_resources: dict[str, int]
    priority: int = 0
    input: list[File] = field(default_factory=list)


def select(jobs: list[Job], available: dict[str, Any], sizes: dict[Any, int | None] | None = None) -> list[Job]:
    scheduler = plugin.Scheduler(None, None, None)  # type: ignore[no-untyped-call]
    return scheduler.select_jobs(jobs, [], available, sizes or {})


def test_higher_priority_then_temporary_files_then_size_of_inputs() -> None:
    sizes: dict[Any, int | None] = {File("temp"): 10, File("small"): 50, File("large"): 100, File("unknown"): None}
    plain, last = Job({"_cores": 1}, input=[File("large")]), Job({"_cores": 1}, input=[File("unknown")])
    removable, urgent = Job({"_cores": 1}, input=[File("temp")]), Job({"_cores": 1}, priority=1)
    small = Job({"_cores": 1}, input=[File("small")])
    order = [urgent, removable, plain, small, last]
    assert select([last, small, plain, removable, urgent], {"_cores": 9}, sizes) == order
    assert select([last, small, plain, removable, urgent], {"_cores": 2}, sizes) == order[:2]


def test_a_job_that_does_not_fit_leaves_room_to_smaller_ones() -> None:
    wide, narrow = Job({"_cores": 8, "mem_mb": 10}, priority=1), Job({"_cores": 1})
    assert select([wide, narrow], {"_cores": 4, "mem_mb": 100}) == [narrow]


amounts = st.dictionaries(st.sampled_from(["_cores", "mem_mb", "licenses", "other"]), st.integers(0, 5))


@given(st.lists(st.tuples(amounts, st.integers(0, 3)), max_size=20), amounts)
def test_nothing_is_taken_beyond_what_there_is_and_nothing_left_that_fits(
    wanted: list[tuple[dict[str, int], int]], available: dict[str, int]
) -> None:
    jobs = [Job(resources, priority) for resources, priority in wanted]
    taken = select(jobs, available)
    left = {name: n - sum(job.scheduler_resources.get(name, 0) for job in taken) for name, n in available.items()}
    assert all(n >= 0 for n in left.values())
    for job in set(jobs) - set(taken):
        assert any(job.scheduler_resources.get(name, 0) > n for name, n in left.items())


def test_snakemake_discovers_it_and_imports_nothing_heavy() -> None:
    assert SchedulerPluginRegistry().get_plugin("daskjq").scheduler is plugin.Scheduler
    code = "import sys, snakemake_scheduler_plugin_daskjq; print({'dask', 'pulp', 'pandas'}.isdisjoint(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "True\n"
