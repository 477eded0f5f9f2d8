"""`daskjq explain` and `daskjq report` on a run that goes on, and after it."""

from __future__ import annotations

import subprocess
import sys

from ..workflow import Workflow

SNAKEFILE = """
    rule all:
        input: "a", "b"
    rule a:
        output: "a"
        priority: 1
        shell: "touch started; while [ ! -e go ]; do sleep 0.05; done; touch {output}"
    rule b:
        output: "b"
        shell: "touch {output}"
"""


def daskjq(workflow: Workflow, *arguments: str) -> str:
    command = [sys.executable, "-m", "snakemake_executor_daskjq.cli", *arguments]
    return subprocess.run(command, cwd=workflow.folder, capture_output=True, text=True, check=True, timeout=60).stdout


def test_a_waiting_job_is_explained_while_the_run_goes_on(workflow: Workflow) -> None:
    workflow.write(SNAKEFILE)
    process = workflow.start("--jobs", "2", "--daskjq-cores", "1")
    workflow.wait_for("started")
    workflow.wait_until(lambda: len(workflow.journal("job_submitted")) == 2)
    told = daskjq(workflow, "explain", "b")
    assert "(cores=1" in told
    assert "pilot local-1: cores=0 free of 1; 1 job runs there." in told
    assert "pool local: it has as many pilots as it may (max_pilots=1)." in told
    assert "runs on pilot local-1" in daskjq(workflow, "explain", "a")
    (workflow.folder / "go").touch()
    assert process.wait(60) == 0
    assert daskjq(workflow, "explain").startswith("No job waits for a pilot.")
    rows = [line.split()[:3] for line in daskjq(workflow, "report").splitlines()]
    assert rows == [["rule", "jobs", "failed"], ["a", "1", "0"], ["b", "1", "0"]]
