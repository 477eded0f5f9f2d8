"""Pilots and launchers that die or stop: what they ran runs again, and never twice at a time."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from ..snakefiles import WITNESSED
from ..workflow import CONTROLLER, PILOT, Workflow


@pytest.fixture(params=["direct", "workflow"])
def witnessed(workflow: Workflow, request: pytest.FixtureRequest) -> Iterator[Workflow]:
    """A workflow whose jobs wait for `go` and leave a witness if two copies of one ever run at the same time."""
    workflow.env["SNAKEMAKE_DASKJQ_WARM_START"] = request.param
    workflow.write(WITNESSED)
    yield workflow
    assert not (workflow.folder / "overlaps").exists()


@contextmanager
def running(workflow: Workflow, *options: str) -> Iterator[None]:
    """Two jobs are running; at the end they are let go, and the run must succeed."""
    process = workflow.start("--jobs", "2", "--config", "count=2", "--daskjq-cores", "2", *options)
    workflow.wait_for_line("tries/0", "tries/1")
    yield
    workflow.wait_until(lambda: all(workflow.read(f"tries/{i}").count("start") == 2 for i in range(2)), timeout=120)
    (workflow.folder / "go").touch()
    assert process.wait(60) == 0, workflow.output[-3000:]
    assert [workflow.read(f"out/{i}.txt") for i in range(2)] == ["0\n", "1\n"]
    assert [event["attempt"] for event in workflow.journal("job_submitted")] == [1, 1]
    assert [event["success"] for event in workflow.journal("job_reported")] == [True, True]


def test_jobs_of_a_killed_pilot_run_again_when_the_first_copies_are_gone(witnessed: Workflow) -> None:
    with running(witnessed):
        witnessed.only(PILOT).kill()
    assert [event["jobs"] for event in witnessed.journal("pilot_lost")] == [["a-1-1", "a-2-1"]]


def test_jobs_of_a_killed_rule_host_run_again_on_the_same_pilot(witnessed: Workflow) -> None:
    """What left the job's session is found and ended, too: it holds the witness' lock."""
    with running(witnessed):
        witnessed.host.kill()
    assert {event["pilot"] for event in witnessed.journal("job_placed")} == {"local-1"}


def test_a_killed_pilot_with_a_stopped_host(witnessed: Workflow) -> None:
    """The kernel wakes the host when its pilot dies, and it ends the jobs."""
    with running(witnessed):
        pilot = witnessed.only(PILOT)
        witnessed.host.suspend()
        pilot.kill()
    assert len(witnessed.journal("pilot_lost")) == 1


def test_a_stopped_pilots_jobs_end_with_its_lease_and_run_elsewhere(witnessed: Workflow) -> None:
    with running(witnessed, "--daskjq-lease", "10s"):
        pilot, jobs = witnessed.only(PILOT), witnessed.host.children()
        pilot.suspend()
        suspended = time.time()
        psutil.wait_procs(jobs, timeout=20)
        assert not any(job.is_running() for job in jobs)
        witnessed.wait_until(lambda: witnessed.journal("pilot_lost"), timeout=60)
        (lost,) = witnessed.journal("pilot_lost")
        assert lost["t"] - suspended > 10  # not before its jobs have ended
        pilot.send_signal(signal.SIGCONT)


def test_a_pilot_that_is_stopped_with_its_host_is_ended_before_its_jobs_run_elsewhere(witnessed: Workflow) -> None:
    with running(witnessed, "--daskjq-lease", "10s"):
        pilot, host = witnessed.only(PILOT), witnessed.host
        pilot.suspend()
        host.suspend()
        psutil.wait_procs([pilot, host], timeout=90)
        assert not pilot.is_running()
        assert not host.is_running()


def test_a_stopped_host_alone_loses_nothing(witnessed: Workflow) -> None:
    process = witnessed.start("--jobs", "2", "--config", "count=2", "--daskjq-lease", "10s")
    witnessed.wait_for_line("tries/0", "tries/1")
    host = witnessed.host
    host.suspend()
    with pytest.raises(psutil.TimeoutExpired):
        host.wait(12)
    host.resume()
    (witnessed.folder / "go").touch()
    assert process.wait(60) == 0
    assert [event["end"] for event in witnessed.journal("job_ended")] == ["succeeded"] * 2


def test_a_snakemake_that_is_suspended_loses_nothing(witnessed: Workflow) -> None:
    process = witnessed.start("--jobs", "2", "--config", "count=2", "--daskjq-lease", "10s")
    witnessed.wait_for_line("tries/0", "tries/1")
    snakemake, controller = psutil.Process(process.pid), witnessed.only(CONTROLLER)
    snakemake.suspend()
    (witnessed.folder / "go").touch()
    witnessed.wait_until(lambda: len(witnessed.journal("job_ended")) == 2)
    with pytest.raises(psutil.TimeoutExpired):
        controller.wait(12)
    snakemake.resume()
    assert process.wait(60) == 0
    assert [event["end"] for event in witnessed.journal("job_ended")] == ["succeeded"] * 2


def test_a_job_that_takes_its_pilots_down_is_named_and_the_others_go_on(workflow: Workflow) -> None:
    workflow.write("""
        rule all:
            input: "good", "bad"
        rule good:
            output: "good"
            shell: "while [ $(cat crashes 2> /dev/null | wc -l) -lt 2 ]; do sleep 0.05; done; touch {output}"
        rule bad:
            output: "bad"
            shell:
                "sleep 0.2; echo >> crashes; pid=$$; "
                "while ! tr '\\\\0' ' ' < /proc/$pid/cmdline | grep -q [p]ilot.process; do "
                "pid=$(sed 's/.*) . //; s/ .*//' /proc/$pid/stat); done; kill -9 $pid; sleep 600"
    """)
    assert workflow.run("--jobs", "2", "--keep-going", "--daskjq-cores", "2", timeout=120) == 1
    assert (workflow.folder / "good").exists()
    assert workflow.read("crashes").count("\n") == 3
    assert "rule bad" in workflow.output
    assert "it was lost with 3 pilots or launchers that crashed (local-1; local-2; local-3)" in workflow.output
    submitted = {event["rule"]: event["key"] for event in workflow.journal("job_submitted")}
    reported = {event["key"]: event["success"] for event in workflow.journal("job_reported")}
    assert reported == {submitted["bad"]: False, submitted["good"]: True}
