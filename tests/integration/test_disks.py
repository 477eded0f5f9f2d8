"""Disks that are full or read-only: small file systems of their own, which only root can mount."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..workflow import KEEP_LOGS, Workflow

pytestmark = pytest.mark.needs("root", "mount")

HELD_IN_TURN = """
    rule all:
        input: "a", "b"
    rule a:
        output: "a"
        shell: "touch up; while [ ! -e go ]; do sleep 0.05; done; touch {output}"
    rule b:
        input: "a"
        output: "b"
        shell: "echo b > {output}"
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB and 60 files."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=60", "tmpfs", str(path)]
    mounted = subprocess.run(mount, capture_output=True, text=True)
    if mounted.returncode != 0:  # a container that root may not mount in
        pytest.skip(f"can't mount a file system: {mounted.stderr.strip()}")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(disk: Path) -> None:
    """To the last page, and what the journal has of its last one with blank lines, which readers pass over."""
    (journal,) = disk.glob("logs/runs/*/journal.jsonl")
    with journal.open("ab") as pages:
        pages.write(b"\n" * (-journal.stat().st_size % os.sysconf("SC_PAGE_SIZE")))
    with (disk / "ballast").open("wb", buffering=0) as ballast:
        for size in (65536, 4096):
            while shutil.disk_usage(disk).free >= size:
                ballast.write(b"\0" * size)


def use_up_inodes(disk: Path) -> None:
    for number in range(os.statvfs(disk).f_ffree):
        (disk / f"file{number}").touch()


def test_a_journal_and_logs_that_cannot_be_written_any_more_lose_no_outcome(workflow: Workflow, disk: Path) -> None:
    workflow.write(HELD_IN_TURN)
    process = workflow.start("--jobs", "2", "--daskjq-log-folder", str(disk / "logs"))
    workflow.wait_for("up")
    fill(disk)
    (workflow.folder / "go").touch()
    assert process.wait(60) == 0
    assert workflow.read("b") == "b\n"
    assert workflow.output.count("can't be written ([Errno 28] No space left on device)") == 1
    assert "Traceback" not in workflow.output
    assert "Logging error" not in workflow.output


def test_a_rule_whose_logs_have_no_place_ends_the_run_with_the_reason(workflow: Workflow, disk: Path) -> None:
    workflow.write(HELD_IN_TURN)
    process = workflow.start("--jobs", "2", "--daskjq-log-folder", str(disk / "logs"), KEEP_LOGS)
    workflow.wait_for("up")
    use_up_inodes(disk)
    (workflow.folder / "go").touch()
    assert process.wait(60) == 1
    assert "daskjq can't write the logs of rule b: [Errno 28] No space left on device" in workflow.output
    assert "Traceback" not in workflow.output
    assert (workflow.folder / "a").exists()


def test_a_run_folder_on_a_read_only_disk_is_refused_at_the_start(workflow: Workflow, disk: Path) -> None:
    workflow.write(HELD_IN_TURN)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    assert workflow.run("--jobs", "2", "--daskjq-log-folder", str(disk / "logs")) == 1
    assert "daskjq can't write its folder" in workflow.output
    assert "Read-only file system" in workflow.output
    assert "Traceback" not in workflow.output


def test_a_scratch_folder_on_a_read_only_disk_is_told_and_hangs_nothing(workflow: Workflow, disk: Path) -> None:
    workflow.write(HELD_IN_TURN)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    process = workflow.start("--jobs", "2", "--daskjq-scratch-folder", str(disk / "scratch"))
    workflow.wait_until(lambda: "Read-only file system" in workflow.output)
    process.terminate()
    assert process.wait(30) == 1
    assert "Traceback" not in workflow.output
