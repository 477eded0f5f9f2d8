"""What is left when Snakemake is interrupted or killed: nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from ..snakefiles import CRASHING, HELD, MANY, QUICK, SLOW
from ..workflow import CONTROLLER, PILOT, Workflow

PHASES: dict[str, Callable[[Workflow], object]] = {
    "starting": lambda workflow: workflow.run_folders and workflow.journal("run_started"),
    "queued": lambda workflow: workflow.run_folders and workflow.journal("pilot_requested"),
    "running": lambda workflow: len(list(workflow.folder.glob("pid*"))) == 2,
    "finishing": lambda workflow: workflow.run_folders and workflow.journal("job_reported"),
}
"""What a run with two cores has done when its end comes: five jobs that last, or one that ends at once."""

ENDINGS = {
    "ctrl-c": (signal.SIGINT,),
    "ctrl-c twice": (signal.SIGINT, signal.SIGINT),
    "TERM": (signal.SIGTERM,),
    "HUP": (signal.SIGHUP,),
    "KILL": (signal.SIGKILL,),
    "crash": (),
    "controller killed": (),
    "controller stopped": (),
    "controller stopped, ctrl-c": (signal.SIGINT,),
}
"""Signals to Snakemake; the crash is an exception out of the controller's event loop."""

SECONDS = 15
STOPPED_S = 40
"""A controller that is stopped is found out when its lease, of 10 s here, is over."""


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("ending", ENDINGS)
def test_nothing_is_left_and_the_workflow_can_be_run_again(workflow: Workflow, ending: str, phase: str) -> None:
    workflow.write(QUICK if phase == "finishing" else SLOW).write(CRASHING, "crashing/sitecustomize.py")
    workflow.env["PYTHONPATH"] = os.pathsep.join([str(workflow.folder / "crashing"), os.environ.get("PYTHONPATH", "")])
    process = workflow.start("--jobs", "5", "--daskjq-cores", "2", "--daskjq-lease", "10s")
    workflow.wait_until(lambda: PHASES[phase](workflow))
    controllers = workflow.started_as(CONTROLLER) if "controller" in ending else []
    for controller in controllers:  # there is none where the run has just ended
        controller.send_signal(signal.SIGKILL if ending == "controller killed" else signal.SIGSTOP)
    for signum in ENDINGS[ending]:
        process.send_signal(signum)
    if ending == "crash":
        (workflow.folder / "crash").touch()
    status = process.wait(STOPPED_S if "stopped" in ending else SECONDS)
    assert workflow.leftovers(timeout=SECONDS if ending == "KILL" else 0) == []
    if phase != "finishing":  # a run that was just ending may have been through: then Snakemake itself is interrupted
        assert status == (-signal.SIGKILL if ending == "KILL" else 1)
        assert "Traceback" not in workflow.output
        if "controller" in ending:
            assert "The controller of the run" in workflow.output
    if ending != "KILL":
        assert workflow.journal()[-1]["event"] == "run_ended"
        assert not any((workflow.run_folders[-1] / "tls").iterdir())  # the run's key is gone
        assert not list(workflow.folder.glob("[0-9].txt"))  # an interrupted job's output
    if phase == "running" and ending in (
        "ctrl-c",
        "KILL",
        "crash",
        "controller killed",
    ):  # at once: no lock is left, but by a Snakemake that could not remove it
        workflow.write(MANY)
        (workflow.folder / "crash").unlink(missing_ok=True)
        unlock = ["--unlock"] if ending == "KILL" else []
        assert not unlock or workflow.run("--jobs", "5", *unlock) == 0
        assert workflow.run("--jobs", "5", "--rerun-incomplete") == 0


def test_a_job_that_was_interrupted_leaves_no_output_and_is_not_incomplete(workflow: Workflow) -> None:
    """Less than under the local executor, which leaves both: here the job's own Snakemake has time to clean up."""
    workflow.write("""
        rule a:
            output: "x"
            shell: "echo half > {output}; touch up; [ -e go ] || sleep 600"
    """)
    process = workflow.start("--jobs", "1")
    workflow.wait_for("up")
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    assert process.wait(SECONDS) == 1
    assert not (workflow.folder / "x").exists()
    assert not list(workflow.folder.glob(".snakemake/incomplete/*"))
    (workflow.folder / "go").touch()
    assert workflow.run("--jobs", "1") == 0


def test_a_run_under_nohup_goes_on_when_the_terminal_goes(workflow: Workflow) -> None:
    workflow.write("""
        rule a:
            output: "x"
            shell: "touch up; while [ ! -e go ]; do sleep 0.05; done; touch {output}"
    """)
    workflow.ignored_signals = (signal.SIGHUP,)
    process = workflow.start("--jobs", "1")
    workflow.wait_for("up")
    process.send_signal(signal.SIGHUP)
    (workflow.folder / "go").touch()
    assert process.wait(30) == 0


def test_a_second_interrupt_does_not_leave_anything_behind(workflow: Workflow) -> None:
    workflow.write(SLOW.replace("sleep 600; touch", "trap '' TERM; while :; do sleep 1; done; touch"))
    process = workflow.start("--jobs", "5", "--daskjq-cores", "1")
    workflow.wait_until(lambda: list(workflow.folder.glob("pid*")))
    process.send_signal(signal.SIGINT)
    workflow.wait_until(lambda: "ending" in workflow.output)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 1
    assert workflow.leftovers(timeout=0) == []


def test_an_interrupt_at_the_very_moment_when_the_run_ends_leaves_nothing(workflow: Workflow) -> None:
    interrupted = """
    onstart:
        from snakemake_executor_daskjq.executor.signals import RunSignals
        hold = RunSignals.hold
        def interrupt(signals, insist):
            RunSignals.hold = hold
            raise KeyboardInterrupt
        RunSignals.hold = interrupt
    """
    workflow.write(interrupted + QUICK)
    workflow.run("--jobs", "1")
    assert workflow.leftovers(timeout=0) == []
    assert workflow.journal()[-1]["event"] == "run_ended"
    assert not any((workflow.run_folders[-1] / "tls").iterdir())


def test_a_pilot_that_is_killed_costs_no_attempt(workflow: Workflow) -> None:
    workflow.write(HELD)
    process = workflow.start("--jobs", "1")
    workflow.wait_for_line("tries")
    pilot = workflow.only(PILOT)
    pilot.kill()
    workflow.wait_until(lambda: workflow.read("tries").count("\n") == 2)
    (workflow.folder / "go").touch()
    assert process.wait(60) == 0
    assert [event["tries"] for event in workflow.journal("job_placed")] == [1, 2]
    assert [event["attempt"] for event in workflow.journal("job_submitted")] == [1]
    assert [event["end"] for event in workflow.journal("job_ended")] == ["lost", "succeeded"]
    assert "Pilot local-1 was lost; its 1 running jobs go back to the queue" in workflow.output
