"""What is left when Snakemake is interrupted or killed: nothing."""

from __future__ import annotations

import signal

import pytest

from ..snakefiles import HELD, SLOW
from ..workflow import Workflow


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_ends_everything_before_snakemake_exits(workflow: Workflow, signum: signal.Signals) -> None:
    workflow.write(SLOW)
    process = workflow.start("--jobs", "5", "--daskjq-cores", "2")
    workflow.wait_until(lambda: list(workflow.folder.glob("pid*")))
    process.send_signal(signum)
    assert process.wait(15) == 1
    assert workflow.leftovers(timeout=0) == []
    assert workflow.journal()[-1]["event"] == "run_ended"
    assert workflow.journal()[-1]["cancelled"] is True
    assert not any((workflow.run_folders[-1] / "tls").iterdir())  # the run's key is gone
    assert "Traceback" not in workflow.output

    # The workflow can be run again at once.
    workflow.write(SLOW.replace("(setsid sleep 600 &);", "").replace("sleep 600;", ""))
    assert workflow.run("--jobs", "5", "--rerun-incomplete") == 0


@pytest.mark.parametrize("phase", ["run_started", "pilot_requested", "job_placed"])
def test_an_interrupt_at_any_phase_ends_everything(workflow: Workflow, phase: str) -> None:
    workflow.write(SLOW)
    process = workflow.start("--jobs", "5", "--daskjq-cores", "2")
    workflow.wait_until(lambda: workflow.run_folders and workflow.journal(phase))
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 1
    assert workflow.leftovers(timeout=0) == []
    assert workflow.journal()[-1]["event"] == "run_ended"
    assert "Traceback" not in workflow.output


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


def test_when_snakemake_is_killed_everything_ends_within_seconds(workflow: Workflow) -> None:
    workflow.write(SLOW)
    process = workflow.start("--jobs", "5", "--daskjq-cores", "2")
    workflow.wait_until(lambda: list(workflow.folder.glob("pid*")))
    process.kill()
    process.wait()
    assert workflow.leftovers(timeout=15) == []


def test_a_pilot_that_is_killed_costs_no_attempt(workflow: Workflow) -> None:
    workflow.write(HELD)
    process = workflow.start("--jobs", "1")
    workflow.wait_for("tries")
    (pilot,) = [p for p in workflow.processes() if "snakemake_executor_daskjq.worker.pilot" in p.cmdline()]
    pilot.kill()
    workflow.wait_until(lambda: workflow.read("tries").count("\n") == 2)
    (workflow.folder / "go").touch()
    assert process.wait(60) == 0
    assert [event["tries"] for event in workflow.journal("job_placed")] == [1, 2]
    assert [event["attempt"] for event in workflow.journal("job_submitted")] == [1]
    assert [event["end"] for event in workflow.journal("job_ended")] == ["lost", "succeeded"]
    assert "Pilot local-1 was lost; its 1 running jobs go back to the queue" in workflow.output


def test_a_job_that_loses_pilot_after_pilot_fails_and_names_them(workflow: Workflow) -> None:
    workflow.write(r"""
        rule poison:
            output: "x"
            shell: "for p in $(pgrep -f daskjq.worker.pilot); do "
                   "  grep -q $DASKJQ_TEST_RUN /proc/$p/environ && kill -9 $p; done; sleep 60"
    """)
    assert workflow.run("--jobs", "1") == 1
    assert "lost: with pilots local-1, local-2, local-3" in workflow.output
    assert [event["reported"] for event in workflow.journal("job_ended")] == [False, False, True]
