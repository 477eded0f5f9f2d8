"""What Snakefiles and options can say comes out the same however warm jobs start: files, jobs' logs, records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from ..levels import LEVELS, assert_same, assert_started_at, at_level, facts
from .case import Case, run_together
from .directives import DIRECTIVES
from .options import OPTIONS

# The order of what these two print is chance: --verbose lists sets, a logger sees events as jobs come and go.
COMPARED_OPTIONS = [case for case in OPTIONS if case.feature not in ("--verbose", "--logger")]


# A Snakefile that starts a thread and has a queue can't be forked.
KEEPS_A_THREAD = [case for case in DIRECTIVES if case.feature == "queue inputs (from_queue)"]
OTHERS = [case for case in DIRECTIVES if case not in KEEPS_A_THREAD]


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "cases",
    [
        pytest.param(OTHERS, id="directives"),
        pytest.param(KEEPS_A_THREAD, id="a thread"),
        pytest.param(COMPARED_OPTIONS, id="options"),
    ],
)
def test_features_come_out_the_same_at_all_levels(tmp_path: Path, cases: Sequence[Case]) -> None:
    found = {}
    for level in LEVELS:
        workflow = at_level(level, tmp_path)
        run_together(cases, workflow)
        ended = workflow.journal("job_ended")
        if level == "direct":
            assert all(event["colder_because"] or event["warm_start"] == "direct" for event in ended)
            assert sum(event["warm_start"] == "direct" for event in ended) > len(ended) / 2
        elif level == "workflow" and cases is KEEPS_A_THREAD:
            assert {event["warm_start"] for event in ended} == {"import"}
            whys = {event["colder_because"].partition(" (")[0] for event in ended}
            assert whys <= {
                "the Snakefile keeps a thread",
                "the Snakefile keeps a queue",
            }  # whichever it comes to first
        else:
            assert_started_at(level, ended)
        found[level] = facts(workflow)
    kinds = {name.partition(" ")[0] for name in found["off"]}
    assert kinds == {"file", "log", "record"}
    assert_same(found)
