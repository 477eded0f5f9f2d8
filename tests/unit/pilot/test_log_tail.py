from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_daskjq.pilot import log_tail


def test_the_last_lines_without_what_every_job_says(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        "Building DAG of jobs...\nhello\n\nRuleException:\nreturned non-zero exit status 3.\nWorkflowError:\n"
    )
    assert log_tail.read(str(log)) == "hello\nRuleException:\nreturned non-zero exit status 3."


def test_a_long_log_is_read_from_its_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"line {i}\n" for i in range(10**5)))
    lines = log_tail.read(str(log)).splitlines()
    assert len(lines) == log_tail.MAX_LINES
    assert lines[-1] == "line 99999"


def test_a_log_that_is_missing_says_nothing(tmp_path: Path) -> None:
    assert log_tail.read(str(tmp_path / "none")) == ""


@given(st.text())
def test_nothing_printable_can_steer_a_terminal(text: str) -> None:
    cleaned = log_tail.printable(text)
    assert "\x1b" not in cleaned
    assert all(char in "\t\n" or char.isprintable() or ord(char) >= 0xA0 for char in cleaned)
