"""The README's table of features: `python -m tests.features.table` runs the tests and writes what they showed.

A row is a feature that a test is marked with. A cell says what all tests with that mark and system showed; one
without a test stays empty. `claimed` and `shown` let a test compare the table with the tests that there are.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = [str(ROOT / "tests" / name) for name in ("features", "integration", "batch")]
BEGIN, END = "<!-- features: begin -->", "<!-- features: end -->"
SYSTEMS = ("local", "slurm")
YES, NO = "yes", "no"


@dataclass(slots=True)
class Row:
    note: str = ""
    systems: dict[str, str] = field(default_factory=dict)


class Collector:
    """A pytest plugin that notes the features of tests, and how those ended."""

    def __init__(self) -> None:
        self.rows: defaultdict[str, Row] = defaultdict(Row)
        self._cells: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        without = [item for item in items if item.get_closest_marker("feature") is None]
        config.hook.pytest_deselected(items=without)
        items[:] = [item for item in items if item not in without]
        for item in items:
            for mark in item.iter_markers("feature"):
                system = mark.kwargs.get("system", "local")
                cell = NO if item.get_closest_marker("xfail") else mark.kwargs.get("cell", YES)
                self._cells[item.nodeid].append((mark.args[0], system))
                row = self.rows[mark.args[0]]
                row.note = row.note or mark.kwargs.get("note", "")
                row.systems[system] = cell

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            for feature, system in self._cells.get(report.nodeid, ()):
                self.rows[feature].systems[system] = NO


def shown(*options: str) -> dict[str, Row]:
    """The rows of all marked tests; with `--collect-only`, as they are if every test passes."""
    collector = Collector()
    status = pytest.main(["-q", "-p", "no:cacheprovider", *options, *FOLDERS], plugins=[collector])
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise SystemExit(f"pytest ended with {status!r}")
    return collector.rows


def table(rows: dict[str, Row]) -> str:
    lines = ["| Feature | local | Slurm | Note |", "|---|---|---|---|"]
    for name, row in rows.items():
        cells = [row.systems.get(system, "") for system in SYSTEMS]
        lines.append(f"| {' | '.join([_code(name), *cells, row.note])} |".replace("  |", " |"))
    return "\n".join(lines)


def in_readme() -> str:
    return (ROOT / "README.md").read_text().partition(BEGIN)[2].partition(END)[0].strip()


def main() -> None:
    """Run the tests and rewrite the table."""
    path = ROOT / "README.md"
    before, _, rest = path.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    path.write_text(f"{before}{BEGIN}\n{table(shown(*sys.argv[1:]))}\n{END}{after}")


def _code(name: str) -> str:
    return re.sub(r"(--[a-z-]+[a-z])", r"`\1`", name)


if __name__ == "__main__":
    main()
