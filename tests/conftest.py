from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .workflow import Workflow

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def workflow(tmp_path: Path) -> Iterator[Workflow]:
    """A workflow on the local system; fails the test if anything of it still runs afterwards."""
    workflow = Workflow(tmp_path)
    yield workflow
    assert workflow.leftovers() == []
