"""`docs/architecture.md` names what there is."""

from __future__ import annotations

import re
from pathlib import Path

from .test_imports import LAYERS

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "snakemake_executor_daskjq"
TEXT = (ROOT / "docs" / "architecture.md").read_text()

LONGEST_MODULE = 460
"""Lines; what is longer holds several things."""


def test_every_module_that_is_named_is_there() -> None:
    named = set(re.findall(rf"`((?:{'|'.join(LAYERS)})/\w+)`", TEXT))
    assert len(named) > 20
    assert {name for name in named if not (PACKAGE / f"{name}.py").exists()} == set()
    assert {
        name for name in re.findall(r"`((?:tests|benchmarks)/[\w/.]+)`", TEXT) if not (ROOT / name).exists()
    } == set()


def test_every_folder_is_in_the_table() -> None:
    assert set(re.findall(r"(?m)^\| `(\w+)/` \|", TEXT)) == set(LAYERS)


def test_a_module_is_a_room_and_no_hall() -> None:
    lengths = {str(path.relative_to(PACKAGE)): len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_MODULE} == {}
