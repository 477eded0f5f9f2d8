"""Submit commands that answer with what is no batch job, or not at all: a fake sbatch in front of the real one."""

from __future__ import annotations

import signal

import pytest

from ..snakefiles import MANY
from ..workflow import Workflow


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
            "echo Welcome to node 7; exit 0",
            "the submit command succeeded without telling a job's id; it said: Welcome to node 7. Next try in 1 s.",
        ),
        (
            "echo Submitted batch job 999999; exit 0",
            "batch job 999999 ended before it connected: its log says nothing. Next try in 1 s.",
        ),
    ],
)
def test_a_submission_without_a_batch_job_is_told_and_tried_again(workflow: Workflow, script: str, words: str) -> None:
    workflow.write(MANY)
    fake_sbatch(workflow, 1, script)
    assert workflow.run("--jobs", "4") == 0
    assert words in workflow.output
    assert len(workflow.journal("pilot_failed")) == 1


def test_an_interrupt_does_not_wait_for_a_submit_command_that_hangs(workflow: Workflow) -> None:
    workflow.write(MANY)
    fake_sbatch(workflow, 99, "touch hangs; sleep 600")
    process = workflow.start("--jobs", "4")
    workflow.wait_for("hangs")
    process.send_signal(signal.SIGINT)
    assert process.wait(15) == 1
    assert workflow.leftovers(timeout=0) == []
