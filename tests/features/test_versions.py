"""Internals of Snakemake that warm starts need: where they are not as expected, jobs start colder, and say so."""

from __future__ import annotations

import pytest

from ..snakefiles import MANY
from ..workflow import Workflow

# Read by each Python before anything else: changes Snakemake in fork servers only, as another version might.
CHANGED = """
    import sys
    if "snakemake_executor_daskjq.launcher.fork_server" in sys.orig_argv:
        import snakemake.api, snakemake.workflow, tempfile, types
        class TemporaryDirectory:
            def __init__(self, **options):
                self._folder = tempfile.TemporaryDirectory(**options)
                self.name = self._folder.name
            def cleanup(self):
                self._folder.cleanup()
        {change}
"""


@pytest.mark.feature("another Snakemake than expected: jobs start colder")
@pytest.mark.parametrize(
    ("change", "level", "reason"),
    [
        pytest.param("pass", "workflow", "", id="unchanged"),
        pytest.param(
            "snakemake.workflow.tempfile = types.SimpleNamespace(TemporaryDirectory=TemporaryDirectory)",
            "import",
            "this Snakemake is not as expected: 'TemporaryDirectory' object has no attribute '_finalizer'",
            id="found after the parse",
        ),
        pytest.param(
            "snakemake.workflow.Workflow._prepare = snakemake.workflow.Workflow._prepare_dag;"
            "del snakemake.workflow.Workflow._prepare_dag",
            "off",
            "this Snakemake is not as expected: no _prepare_dag",
            id="found at the start",
        ),
        pytest.param(
            "import atexit; del atexit._run_exitfuncs",
            "off",
            "this Python is not as expected: no atexit._run_exitfuncs",
            id="of Python",
        ),
    ],
)
def test_a_changed_internal_makes_jobs_start_colder(workflow: Workflow, change: str, level: str, reason: str) -> None:
    workflow.write(CHANGED.format(change=change), "changed/sitecustomize.py").write(MANY)
    workflow.env |= {"PYTHONPATH": str(workflow.folder / "changed"), "SNAKEMAKE_DASKJQ_WARM_START": "workflow"}
    assert workflow.run() == 0, workflow.output[-3000:]
    ended = workflow.journal("job_ended")
    assert {event["warm_start"] for event in ended} == {level}
    assert {event["colder_because"].split(";")[0] for event in ended} == {reason}
