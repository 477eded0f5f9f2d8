from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from snakemake_executor_daskjq.journal.history import MOST_RULES, History
from snakemake_executor_daskjq.model.usage import Usage


def usage(wall_s: float = 10.0, seen: float = 1.0) -> Usage:
    return Usage(1, wall_s, wall_s, 500.0, seen)


def test_what_a_run_learns_the_next_one_knows(tmp_path: Path) -> None:
    first = History(tmp_path / "history.json")
    assert first.rules == {}
    first.learn("align", usage(10.0))
    first.learn("align", usage(20.0))
    first.save()
    assert History(tmp_path / "history.json").rules == {"align": Usage(2, 15.0, 15.0, 500.0, 1.0)}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"schema": 99, "rules": {}}',
        '{"schema": 1, "rules": [1]}',
        '{"schema": 1, "rules": {"a": {"jobs": 1}}}',
        '{"schema": 1, "rules": {"a": {"jobs": 0, "wall_s": 1, "cpu_s": 1, "peak_mem_mb": 1, "seen": 1}}}',
        '{"schema": 1, "rules": {"a": {"jobs": 1, "wall_s": NaN, "cpu_s": 1, "peak_mem_mb": 1, "seen": 1}}}',
    ],
)
def test_a_damaged_file_is_an_empty_history_and_is_replaced(tmp_path: Path, text: str) -> None:
    path = tmp_path / "history.json"
    path.write_text(text)
    history = History(path)
    assert history.rules == {}
    history.learn("a", usage())
    history.save()
    assert History(path).rules == {"a": usage()}


def test_the_file_is_bounded_and_the_oldest_rules_go(tmp_path: Path) -> None:
    history = History(tmp_path / "history.json")
    for number in range(MOST_RULES + 5):
        history.learn(f"r{number}", usage(seen=float(number)))
    history.save()
    rules = History(tmp_path / "history.json").rules
    assert len(rules) == MOST_RULES
    assert "r4" not in rules


def test_runs_that_end_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from snakemake_executor_daskjq.journal.history import History\n"
        "from snakemake_executor_daskjq.model.usage import Usage\n"
        "history = History(pathlib.Path(sys.argv[1]))\n"
        "for _ in range(50):\n"
        "    history.learn('a', Usage(1, 1.0, 1.0, 1.0, 1.0)); history.save()"
    )
    path = tmp_path / "history.json"
    runs = [subprocess.Popen([sys.executable, "-c", code, str(path)]) for _ in range(4)]
    assert [run.wait(60) for run in runs] == [0] * 4
    assert json.loads(path.read_text())["rules"]["a"]["jobs"] == 200
    assert sorted(p.name for p in tmp_path.iterdir()) == ["history.json", "history.lock"]
