"""What Snakefiles can say comes out the same however warm its jobs start: files, jobs' logs and Snakemake's records."""

from __future__ import annotations

from pathlib import Path

from ..levels import LEVELS, assert_same, facts
from ..workflow import Workflow
from .case import run_together
from .directives import DIRECTIVES


def test_directives_come_out_the_same_at_all_levels(tmp_path: Path) -> None:
    found = {}
    for level in LEVELS:
        workflow = Workflow(tmp_path / level / "work", env={"SNAKEMAKE_DASKJQ_WARM_START": level})
        workflow.folder.mkdir(parents=True)
        run_together(DIRECTIVES, workflow)
        ended = workflow.journal("job_ended")
        assert {event["warm_start"] for event in ended} == {level}
        found[level] = facts(workflow)
    kinds = {name.partition(" ")[0] for name in found["off"]}
    assert kinds == {"file", "log", "record"}
    assert_same(found)
