from __future__ import annotations

import os
from pathlib import Path

import pytest

from snakemake_executor_daskjq.journal import journal
from snakemake_executor_daskjq.journal.events import PilotRequested
from snakemake_executor_daskjq.journal.journal import Journal


def test_a_line_that_a_full_disk_cuts_off_is_told_once_and_spoils_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    path = tmp_path / "journal.jsonl"
    log = Journal(path, told.append)
    write = os.write
    with monkeypatch.context() as full:  # a fake, as a real disk is cut where its pages end
        full.setattr(os, "write", lambda fd, data: write(fd, data[:20]))
        log.write(PilotRequested("main-1", "main"))
        log.write(PilotRequested("main-2", "main"))
    log.write(PilotRequested("main-3", "main"))
    log.write(PilotRequested("main-4", "main"))
    log.close()
    assert [event["pilot"] for event in journal.read(path)] == ["main-3", "main-4"]
    (words,) = told
    assert "No space left on device" in words
