"""The README's table of features: `python -m tests.features.table` runs the tests and writes what they showed.

It needs the environment to be activated: notebooks are run by programs that lie beside Python.

A row is a feature that a test is marked with. A cell says what all tests with that mark and system showed; one
without a test stays empty. `in_readme` and `claimed` let a test compare the table with the tests that there are.
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
    """A pytest plugin that notes the features of tests; `cells` has those of each test."""

    def __init__(self) -> None:
        self.rows: defaultdict[str, Row] = defaultdict(Row)
        self.cells: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            for mark in item.iter_markers("feature"):
                system = mark.kwargs.get("system", "local")
                cell = NO if item.get_closest_marker("xfail") else mark.kwargs.get("cell", YES)
                self.cells[item.nodeid].append((mark.args[0], system))
                row = self.rows[mark.args[0]]
                row.note = row.note or mark.kwargs.get("note", "")
                row.systems[system] = cell


class Outcomes:
    """A pytest plugin that notes which tests passed, wherever they ran."""

    def __init__(self) -> None:
        self.passed: set[str] = set()
        self.failed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.add(report.nodeid)
        elif report.when == "call":
            self.passed.add(report.nodeid)


def claimed() -> Collector:
    """What the marked tests show if each of them passes."""
    collector = Collector()
    status = pytest.main(["-qq", "-p", "no:cacheprovider", "--collect-only", *FOLDERS], plugins=[collector])
    if status != pytest.ExitCode.OK:
        raise SystemExit(f"pytest ended with {status!r}")
    return collector


def shown(*options: str) -> dict[str, Row]:
    """Run the marked tests; what did not pass is "no"."""
    collector, outcomes = claimed(), Outcomes()
    pytest.main(["-q", "-p", "no:cacheprovider", *options, *collector.cells], plugins=[outcomes])
    for test, cells in collector.cells.items():
        if test not in outcomes.passed - outcomes.failed:
            print(f"not passed: {test}")
            for feature, system in cells:
                collector.rows[feature].systems[system] = NO
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
