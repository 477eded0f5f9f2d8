"""Bounds of jobs, and what is read from /proc: real processes, and recorded files of control groups."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from snakemake_executor_daskjq.launcher import processes, watch
from snakemake_executor_daskjq.launcher.watch import Bounds, OomKills

if TYPE_CHECKING:
    from collections.abc import Iterator

HUNGRY = """
import os, sys, time
data = bytearray(b"x") * 200_000_000
if os.fork() == 0:
    time.sleep(300)
print(os.getpid(), flush=True)
time.sleep(300)
"""


@pytest.fixture
def shell() -> Iterator[int]:
    """Stands for the job's own Snakemake, far below its allowance (pytest's own process may be above it)."""
    with subprocess.Popen(["sleep", "300"]) as process:
        yield process.pid
        process.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_memory_that_processes_share_counts_once_where_it_matters(shell: int) -> None:
    with subprocess.Popen([sys.executable, "-c", HUNGRY], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        (child,) = processes.descendants_of(parent.pid)
        try:
            roughly = watch.usage(shell, [parent.pid, child], mem_mb=None)
            exactly = watch.usage(shell, [parent.pid, child], mem_mb=100)
        finally:
            for pid in (parent.pid, child):
                os.kill(pid, 9)
    assert roughly.counted_mb > 400
    assert 190 < exactly.counted_mb < 260
    assert exactly.total_mb > exactly.counted_mb


def test_what_is_gone_uses_nothing() -> None:
    assert watch.usage(2**22 + 1, [2**22 + 2], mem_mb=1) == watch.Usage(0.0, 0.0)


def test_what_states_no_bounds_has_none() -> None:
    assert Bounds().exceeded(used_mb=1e9, age_s=1e9) is None


@pytest.mark.parametrize(
    ("cgroup", "counter", "text"),
    [
        ("0::/slurm/job_1\n", "slurm/job_1/memory.events", "low 0\noom 3\noom_kill 2\n"),
        ("5:cpu:/\n4:memory:/job_1\n0::/\n", "memory/job_1/memory.oom_control", "under_oom 0\noom_kill 2\n"),
    ],
)
def test_the_kernels_count_is_that_of_our_control_group(tmp_path: Path, cgroup: str, counter: str, text: str) -> None:
    (tmp_path / "cgroup").write_text(cgroup)
    (tmp_path / counter).parent.mkdir(parents=True)
    (tmp_path / counter).write_text(text)
    assert OomKills(str(tmp_path / "cgroup"), str(tmp_path)).count() == 2


def test_without_a_control_group_of_ours_it_is_the_machines(tmp_path: Path) -> None:
    expected = next(
        int(line.split()[1]) for line in Path("/proc/vmstat").read_text().splitlines() if line.startswith("oom_kill ")
    )
    assert OomKills(str(tmp_path / "none"), str(tmp_path)).count() == expected


def test_each_snakemake_of_a_job_counts_only_beyond_its_allowance(tmp_path: Path, shell: int) -> None:
    (tmp_path / "snakemake.py").write_text(
        HUNGRY.replace("os.fork() == 0", "False").replace("200_000_000", "50_000_000")
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    with (
        subprocess.Popen(
            [sys.executable, "-m", "snakemake", "x"], stdout=subprocess.PIPE, env=environment
        ) as snakemake,
        subprocess.Popen([sys.executable, str(tmp_path / "snakemake.py")], stdout=subprocess.PIPE) as other,
    ):
        for process in (snakemake, other):
            assert process.stdout is not None
            process.stdout.readline()
        used = watch.usage(shell, [snakemake.pid, other.pid], mem_mb=1)
        snakemake.kill()
        other.kill()
    assert used.total_mb > 100
    assert 50 < used.counted_mb < 75
