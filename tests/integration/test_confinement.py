"""Limits and devices of jobs, in whole workflows on the local system."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from ..snakefiles import HUNGRY
from ..workflow import Workflow


@pytest.mark.parametrize("warm_start", ["workflow", "off"])
def test_a_job_out_of_memory_is_retried_with_more_and_its_neighbours_go_on(workflow: Workflow, warm_start: str) -> None:
    workflow.env["SNAKEMAKE_DASKJQ_WARM_START"] = warm_start
    workflow.write(HUNGRY)
    assert workflow.run("--jobs", "5", "--daskjq-cores", "2") == 0, workflow.output
    ends = [(e["key"], e["end"], e["pilot"]) for e in workflow.journal("job_ended") if e["key"].startswith("hungry")]
    assert ends == [
        ("hungry-1-1", "out_of_memory", "local-1"),
        ("hungry-1-2", "out_of_memory", "local-1"),
        ("hungry-1-3", "succeeded", "local-1"),
    ]
    found = re.findall(
        r"out of memory: it used at least (\d+) MB, more than its mem_mb of (\d+) on pilot", workflow.output
    )
    assert [limit for _, limit in found] == ["200", "400"]
    assert all(int(limit) < int(used) < 600 for used, limit in found)
    assert [e["end"] for e in workflow.journal("job_ended") if e["key"].startswith("neighbour")] == ["succeeded"]
    assert len(workflow.journal("pilot_submitted")) == 1


def test_with_warn_a_job_over_its_memory_goes_on_and_the_user_is_told(workflow: Workflow) -> None:
    workflow.write("""
        rule a:
            output: "x"
            resources: mem_mb=200
            shell: "python3 -c 'data = bytearray(450_000_000); import time; time.sleep(5)'; touch {output}"
    """)
    assert workflow.run("--jobs", "1", "--daskjq-limits", "warn") == 0
    assert re.search(
        r"rule a went over a limit: it used at least \d+ MB, more than its mem_mb of 200; log:", workflow.output
    )


def test_jobs_that_run_together_have_cpus_gpus_and_folders_of_their_own(any_warmth: Workflow) -> None:
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        pytest.skip("needs two CPUs")
    any_warmth.env["CUDA_VISIBLE_DEVICES"] = "GPU-5a,MIG-7b"
    any_warmth.env["TMPDIR"] = str(any_warmth.folder / "scratch")
    (any_warmth.folder / "scratch").mkdir()
    any_warmth.write("""
        rule all:
            input: "0", "1", "none"
        rule gpu:
            output: "{i}"
            wildcard_constraints: i="[01]"
            resources: gpu="1"
            shell: "taskset -cp $$ | sed 's/.*: //' > {output}; echo $CUDA_VISIBLE_DEVICES >> {output};"
                   "stat -c %a $TMPDIR >> {output}; echo $TMPDIR >> {output}; mkdir -p $TMPDIR/a/b;"
                   "touch up{wildcards.i}; while [ ! -e up0 ] || [ ! -e up1 ]; do sleep 0.05; done"
        rule none:
            output: "none"
            shell: "echo $CUDA_VISIBLE_DEVICES > {output}"
    """)
    any_warmth.options = ("--daskjq-cores", str(len(cpus)), "--daskjq-gpus", "2")
    assert any_warmth.run("--jobs", "5") == 0, any_warmth.output
    first, second = (any_warmth.read(name).splitlines() for name in "01")
    assert first[0] != second[0]
    assert {int(first[0]), int(second[0])} <= set(cpus)
    assert {first[1], second[1]} == {"GPU-5a", "MIG-7b"}
    assert any_warmth.read("none") == "-1\n"
    assert first[2] == second[2] == "700"
    assert first[3] != second[3]
    assert Path(first[3]).parent.parent == any_warmth.folder / "scratch"
    assert list((any_warmth.folder / "scratch").glob("daskjq-*")) == []


def test_gpus_can_be_shared(workflow: Workflow) -> None:
    workflow.write("""
        rule all:
            input: "0", "1"
        rule gpu:
            output: "{i}"
            resources: gpu="0.5"
            shell: "echo $CUDA_VISIBLE_DEVICES > {output}; touch up{wildcards.i};"
                   "while [ ! -e up0 ] || [ ! -e up1 ]; do sleep 0.05; done"
    """)
    assert workflow.run("--jobs", "5", "--daskjq-cores", "2", "--daskjq-gpus", "1") == 0
    assert workflow.read("0") == workflow.read("1") == "0\n"
    assert {event["amounts"]["gpu_percent"] for event in workflow.journal("job_submitted")} == {50}


def test_a_users_own_tmpdir_is_kept(any_warmth: Workflow) -> None:
    any_warmth.write("""
        rule a:
            output: "x"
            resources: tmpdir="my tmp"
            shell: "echo $TMPDIR > {output}"
    """)
    assert any_warmth.run("--jobs", "1") == 0
    assert any_warmth.read("x") == "my tmp\n"
