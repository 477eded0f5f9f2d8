from __future__ import annotations

import os
from typing import TYPE_CHECKING

import hypothesis
import pytest

from .programs import lack
from .workflow import Workflow

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# CI tries the same examples each time, so that a change is judged by what it changes; elsewhere new ones are tried.
# No example has a deadline: machines are busy at times, and speed is for the benchmarks.
hypothesis.settings.register_profile("daskjq", derandomize=bool(os.environ.get("CI")), deadline=None)
hypothesis.settings.load_profile("daskjq")


collect_ignore = ["idioms", "workflows"]  # what tests run: scripts there are Snakemake's


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, with the reason, what this machine lacks programs for."""
    for item in items:
        if reason := lack(need for mark in item.iter_markers("needs") for need in mark.args):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def workflow(tmp_path: Path) -> Iterator[Workflow]:
    """A workflow on the local system; fails the test if anything of it still runs afterwards."""
    workflow = Workflow(tmp_path)
    yield workflow
    assert workflow.leftovers() == []
