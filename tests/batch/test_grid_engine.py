"""Whole workflows on a real Grid Engine with one host of eight slots."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..snakefiles import HELD, MANY, SLOW
from ..workflow import PILOT, Workflow
from .grid_engine import SLOTS, GridEngine

SCRATCH = "scratch"

LONG = ("--default-resources", "runtime=9")
"""Jobs for which several pilots are worth it."""


@pytest.fixture
def workflow(tmp_path: Path, grid_engine: GridEngine) -> Iterator[Workflow]:
    """A workflow on the test cell; fails the test if a process, a batch job or a temporary file of it is left."""
    options = [
        *("--daskjq-system", "sge", "--daskjq-interface", "lo", "--daskjq-scratch-folder", str(tmp_path / SCRATCH)),
        *("--daskjq-cores", "2", "--daskjq-memory", "1GB", "--daskjq-walltime", "10m"),
    ]
    workflow = Workflow(tmp_path, *options, env=grid_engine.env)
    yield workflow
    assert workflow.leftovers() == []
    assert grid_engine.leftovers() == {}


def options(grid_engine: GridEngine, *more: str, pe: str | None = "smp") -> list[str]:
    """Those that each run needs. The test's directives go together: an option of several words may stand once only."""
    named = ["--daskjq-parallel-environment", pe] if pe else []
    return ["--jobs", "100", *named, f"--daskjq-directives={' '.join([grid_engine.passed_on, *more])}"]


def test_60_jobs_and_python_code_share_few_pilots_that_end_in_order(
    workflow: Workflow, grid_engine: GridEngine
) -> None:
    workflow.write("""
        rule all:
            input: expand("out/{i}.txt", i=range(60)), "python.txt"
        rule a:
            output: "out/{i}.txt"
            shell: "echo {wildcards.i} > {output}"
        rule python:
            output: "python.txt"
            run:
                import os
                with open(output[0], "w") as file:
                    file.write(f"{os.environ['NSLOTS']} {os.environ['PATH']}")
    """)
    assert workflow.run(*options(grid_engine)) == 0
    assert [workflow.read(f"out/{i}.txt") for i in range(60)] == [f"{i}\n" for i in range(60)]
    slots, _, path = workflow.read("python.txt").partition(" ")
    assert slots == "1"  # the job's, not the pilot's
    assert path == workflow.env["PATH"]  # that of whoever called Snakemake
    assert "was granted" not in workflow.output
    pilots = [event["batch_id"] for event in workflow.journal("pilot_submitted")]
    assert 1 <= len(pilots) <= 4
    workflow.wait_until(lambda: all(map(grid_engine.account, pilots)))
    for pilot in pilots:
        record = grid_engine.account(pilot)
        assert (record["slots"], record["failed"], record["exit_status"]) == ("2", "0", "0")  # it was not killed
    assert list((workflow.folder / SCRATCH).rglob("*")) == []


def test_a_pilot_with_fewer_slots_than_cores_is_told(workflow: Workflow, grid_engine: GridEngine) -> None:
    workflow.write(MANY)
    assert workflow.run(*options(grid_engine, pe=None), "--config", "count=2") == 0
    assert "was granted 1 core, but its pool sge offers 2 to jobs" in workflow.output
    assert workflow.output.count("was granted") == 1
    assert "set the pool's parallel_environment" in workflow.output


def test_an_interrupt_ends_running_and_queued_batch_jobs(workflow: Workflow, grid_engine: GridEngine) -> None:
    workflow.write(SLOW)
    process = workflow.start(*options(grid_engine), "--config", "count=20", "--daskjq-cores", "5", *LONG)
    workflow.wait_until(lambda: list(workflow.folder.glob("pid*")))
    workflow.wait_until(lambda: "qw" in grid_engine.jobs().values())  # there are slots for one pilot
    process.send_signal(signal.SIGINT)
    assert process.wait(25) == 1
    assert grid_engine.leftovers() == {}
    ran, *queued = [event["batch_id"] for event in workflow.journal("pilot_submitted")]
    workflow.wait_until(lambda: grid_engine.account(ran))
    assert not any(map(grid_engine.account, queued))  # the slots that the first one left have started none of them
    assert list((workflow.folder / SCRATCH).rglob("*")) == []


def test_a_pilot_that_somebody_deletes_is_no_crash_and_one_that_is_killed_is(
    workflow: Workflow, grid_engine: GridEngine
) -> None:
    workflow.write(HELD)
    process = workflow.start(*options(grid_engine))
    workflow.wait_for_line("tries")
    grid_engine.run("qdel", *grid_engine.jobs())
    workflow.wait_until(lambda: workflow.read("tries").count("\n") == 2)
    workflow.only(PILOT).kill()
    workflow.wait_until(lambda: workflow.read("tries").count("\n") == 3)
    (workflow.folder / "go").touch()
    assert process.wait(60) == 0
    assert [event["how"] for event in workflow.journal("pilot_gone")] == [
        "deleted",
        "exit status 137",
    ]
    assert [event["end"] for event in workflow.journal("job_ended")] == ["lost", "lost", "succeeded"]
    assert [event["attempt"] for event in workflow.journal("job_submitted")] == [1]


def test_a_pilot_at_the_end_of_its_time_is_no_crash(workflow: Workflow, grid_engine: GridEngine) -> None:
    workflow.write(HELD)
    process = workflow.start(*options(grid_engine, "-l h_rt=6"))
    workflow.wait_until(lambda: workflow.run_folders and len(workflow.journal("pilot_gone")) == 1)
    (workflow.folder / "go").touch()
    assert process.wait(60) == 0
    assert "ended as qmaster enforced h_rt, h_cpu, or h_vmem limit" in workflow.output
    assert "crashed" not in workflow.output


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--daskjq-queue", "nope"], 'Job was rejected because job requests unknown queue "nope"'),
        (["--daskjq-parallel-environment", "nope"], 'the requested parallel environment "nope" does not exist'),
    ],
)
def test_what_grid_engine_refuses_is_told_in_its_own_words_and_ends_the_run(
    workflow: Workflow, grid_engine: GridEngine, more: list[str], words: str
) -> None:
    workflow.write(MANY)
    assert workflow.run(*options(grid_engine), *more, timeout=30) == 1
    assert f"{words} Exiting." in workflow.output
    assert "Exiting.." not in workflow.output
    assert len(workflow.journal("pilot_failed")) == 1
    assert "Traceback" not in workflow.output


def test_why_a_pilot_waits_is_told(workflow: Workflow, grid_engine: GridEngine) -> None:
    workflow.write(MANY)
    process = workflow.start(*options(grid_engine), "--daskjq-cores", str(SLOTS + 1))
    told = 'waits in the queue: cannot run in PE "smp" because it only offers 0 slots'
    workflow.wait_until(lambda: told in workflow.output)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 1


def test_a_release_takes_the_reason_back(workflow: Workflow, grid_engine: GridEngine) -> None:
    workflow.write(MANY)
    process = workflow.start(*options(grid_engine, "-h"), "--config", "count=4", "--daskjq-max-pilots", "1")
    workflow.wait_until(lambda: "is held in the queue (hqw)" in workflow.output)
    grid_engine.run("qrls", *grid_engine.jobs())
    assert process.wait(60) == 0
    assert workflow.output.count("is held in the queue") == 1


def test_a_failed_start_is_told_with_its_reason_and_deleted(workflow: Workflow, grid_engine: GridEngine) -> None:
    workflow.write(MANY)
    assert workflow.run(*options(grid_engine, "-wd /nonexistent"), timeout=60) == 1
    assert "failed to start: error: can't chdir to /nonexistent: No such file or directory" in workflow.output
    assert "No pilot of pool sge could be started" in workflow.output
