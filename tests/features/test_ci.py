"""Tests of a user's workflow: the file that the README shows, run by pytest as there."""

from __future__ import annotations

import re
import sys

import pytest

from ..workflow import Workflow
from .table import ROOT


@pytest.mark.feature("tests of a workflow with pytest, by the command and SnakemakeApi")
def test_the_tests_of_the_readme_pass_and_can_fail(workflow: Workflow) -> None:
    (snippet,) = re.findall(r"^```python\n(# test_workflow.py.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    workflow.write(snippet, "test_workflow.py")
    workflow.write(
        """
        rule answer:
            output: "result.txt"
            shell: "echo $((6 * 7)) > {output}"
        """,
        "workflow/Snakefile",
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--basetemp", "temporary"]
    assert workflow.start_command(*command).wait(120) == 0, workflow.output[-3000:]
    assert "2 passed" in workflow.output
    workflow.write((workflow.read("workflow/Snakefile")).replace("6 * 7", "6 * 9"), "workflow/Snakefile")
    assert workflow.start_command(*command).wait(120) == 1
    assert "2 failed" in workflow.output
