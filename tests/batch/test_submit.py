"""What can go wrong between a submission and the pilot's start.

Held jobs are the real Slurm's. What it can't be made to do at will is said by a fake sbatch in front of the real one.
"""

from __future__ import annotations

import signal
from typing import Any

import pytest

from ..snakefiles import MANY
from ..workflow import Workflow
from .slurm import SlurmCluster

FULL = "sbatch: error: QOSMaxSubmitJobPerUserLimit"


def fake_sbatch(workflow: Workflow, calls: int, script: str) -> None:
    """An sbatch that does `script` the first `calls` times, and is the real one then."""
    workflow.write(
        f"""\
        #!/bin/sh
        echo x >> calls
        if [ $(wc -l < calls) -le {calls} ]; then
            {script}
        fi
        PATH=${{PATH#*:}} exec sbatch "$@"
        """,
        "bin/sbatch",
    )
    (workflow.folder / "bin" / "sbatch").chmod(0o755)
    workflow.env["PATH"] = f"{workflow.folder / 'bin'}:{workflow.env['PATH']}"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (
            "echo 'sbatch: error: Socket timed out on send/recv operation' >&2; exit 1",
            "could not be started: sbatch: error: Socket timed out on send/recv operation. Next try in 1 s.",
        ),
        (
            "echo Welcome to node 7; exit 0",
            "the submit command succeeded without telling a job's id; it said: Welcome to node 7. Next try in 1 s.",
        ),
        (
            "echo Submitted batch job 999999; exit 0",
            "could not be started: batch job 999999 ended before it connected: its log says nothing. Next try",
        ),
    ],
)
def test_a_submission_that_fails_is_told_and_tried_again(workflow: Workflow, script: str, words: str) -> None:
    workflow.write(MANY)
    fake_sbatch(workflow, 2, script)
    assert workflow.run("--jobs", "4") == 0
    assert words in workflow.output
    failed: list[dict[str, Any]] = workflow.journal("pilot_failed")
    assert [round(event["retry_in_s"]) for event in failed] == [1, 2]


def test_a_full_queue_is_told_once_and_ends_no_run(workflow: Workflow) -> None:
    workflow.write(MANY)
    fake_sbatch(workflow, 2, f"echo '{FULL}' >&2; exit 1")
    assert workflow.run("--jobs", "4") == 0
    assert workflow.output.count("The queue takes no more pilots of pool") == 1
    assert f"{FULL}. It is asked again" in workflow.output
    assert "could not be started" not in workflow.output
    assert len(workflow.journal("pilot_failed")) == 2


def test_a_held_pilot_is_told_with_what_releases_it(workflow: Workflow, slurm: SlurmCluster) -> None:
    workflow.write(MANY)
    process = workflow.start("--jobs", "4", "--daskjq-directives=--hold")
    workflow.wait_until(lambda: "is held" in workflow.output)
    (job,) = slurm.queued_or_running()
    assert f"(PENDING (JobHeldUser)): it starts when somebody releases batch job {job.job_id}" in workflow.output
    slurm.run("scontrol", "release", job.job_id)
    assert process.wait(60) == 0


def test_an_interrupt_does_not_wait_for_a_submit_command_that_hangs(workflow: Workflow) -> None:
    workflow.write(MANY)
    fake_sbatch(workflow, 99, "touch hangs; sleep 600")
    process = workflow.start("--jobs", "4")
    workflow.wait_for("hangs")
    process.send_signal(signal.SIGINT)
    assert process.wait(15) == 1
    assert workflow.leftovers(timeout=0) == []
