"""Runs pytest as CI does: a test that was skipped without leave fails the run, and a failed one is tried once more.

Foreign processes (Slurm, Dask, Snakemake) fail at times for reasons of theirs. So tests of whole runs that failed are
run again at the end, alone; what passes then is told as FLAKY, with what it said the first time.

`python -m tests.outcomes` takes pytest's arguments.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest

ADMITTED_SKIPS = {
    "tests/unit/launcher/test_copy_on_write.py": "objects are immortal from Python 3.12 on: a test for each side"
}
"""Where tests may be skipped in CI, as their ids begin, and why."""

FOREIGN = ("tests/integration/", "tests/features/", "tests/batch/")
"""Tests that may be tried again."""

MANY = 10
"""So many failures have one cause, and it is no accident."""


@dataclass(slots=True, eq=False)  # pytest keeps plugins in sets
class Outcomes:
    """A pytest plugin that notes how tests ended, wherever they ran."""

    passed: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            said = [report.longreprtext, *(f"--- {title} ---\n{text}" for title, text in report.sections)]
            self.failed[report.nodeid] = "\n".join([self.failed.get(report.nodeid, ""), *said]).strip()
        elif report.skipped and not hasattr(report, "wasxfail"):
            self._skip(report)
        elif report.when == "call":
            self.passed.add(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._skip(report)

    def _skip(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        self.skipped[report.nodeid] = _reason(report)


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
    return text.removeprefix("Skipped: ")


@dataclass(frozen=True, slots=True)
class Judgement:
    flaky: list[str]
    failed: list[str]
    skipped: list[str]


def may_be_tried_again(failed: Iterable[str]) -> list[str]:
    """Those of the failed tests that are of whole runs, if there are few.

    >>> may_be_tried_again(["tests/unit/test_cli.py::test_a", "tests/batch/test_slurm.py::test_b"])
    ['tests/batch/test_slurm.py::test_b']
    """
    again = [test for test in failed if test.startswith(FOREIGN)]
    return again if len(again) <= MANY else []


def judge(first: Outcomes, second: Outcomes) -> Judgement:
    """What two runs say; the second had only tests that failed in the first.

    >>> first = Outcomes({"tests/a"}, {"tests/b": "no", "tests/c": "no"}, {"tests/d": "needs bwa"})
    >>> judge(first, Outcomes({"tests/b", "tests/c"}, {"tests/c": "no"}))
    Judgement(flaky=['tests/b'], failed=['tests/c'], skipped=['tests/d'])
    """
    flaky = sorted(second.passed & first.failed.keys() - second.failed.keys())
    skips = first.skipped | second.skipped
    return Judgement(
        flaky=flaky,
        failed=sorted(first.failed.keys() - set(flaky)),
        skipped=sorted(test for test in skips if not test.startswith(tuple(ADMITTED_SKIPS))),
    )


def main(arguments: list[str]) -> int:
    first, second = Outcomes(), Outcomes()
    status = int(pytest.main(arguments, plugins=[first]))
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        return status
    again = may_be_tried_again(first.failed)
    if again:
        print("\nOnce more, alone:", flush=True)
        pytest.main(["--numprocesses=0", *again], plugins=[second])
    judgement = judge(first, second)
    for test in judgement.flaky:
        print(f"\nFLAKY {test}: it passed alone; at first it said:\n{first.failed[test]}")
    for test in judgement.failed:
        print(f"\nFAILED {test}")
    reasons = Counter((first.skipped | second.skipped)[test] for test in judgement.skipped)
    for reason, count in reasons.items():
        print(f"\nSKIPPED without leave (tests/outcomes.py): {count} tests: {reason}")
    counts = {
        "passed": len(first.passed - first.failed.keys()) + len(judgement.flaky),
        "failed": len(judgement.failed),
        "skipped": len(first.skipped),
        "skipped without leave": len(judgement.skipped),
        "flaky": len(judgement.flaky),
    }
    print("\n" + ", ".join(f"{count} {name}" for name, count in counts.items()), flush=True)
    # A run may also fail by what is no test, such as an error while collecting.
    broken = status == pytest.ExitCode.TESTS_FAILED and not first.failed
    return int(bool(judgement.failed or judgement.skipped or broken))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
