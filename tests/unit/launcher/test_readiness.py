"""What a direct start's child does before it becomes its command."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from snakemake_executor_daskjq.launcher.readiness import FEW, make_ready, make_ready_at_once
from snakemake_executor_daskjq.model.request import TMPDIR


def ready(**given: object) -> None:
    values = {"stale": [], "folders": [], "wait_for": [], "wait_s": 0.0, "fill": [], "tmpdir": "/tmp/1", **given}
    make_ready(**values)  # type: ignore[arg-type]


def test_what_is_stale_goes_as_snakemake_removes_outputs(tmp_path: Path) -> None:
    file, link, whole, full, empty = (tmp_path / name for name in ("file", "link", "whole", "full", "empty"))
    file.touch()
    link.symlink_to(tmp_path / "nowhere")
    for folder in (whole, full, empty):
        folder.mkdir()
    (whole / "x").touch()
    (full / "x").touch()
    stale = [(str(path), path == whole) for path in (file, link, whole, full, empty, tmp_path / "none")]
    ready(stale=[*stale, ("/dev/null", False)])
    assert [path.name for path in tmp_path.iterdir()] == ["full"]
    assert Path("/dev/null").exists()


def test_folders_are_made_and_files_awaited(tmp_path: Path) -> None:
    late = tmp_path / "in" / "late"
    late.parent.mkdir()
    threading.Timer(0.3, late.touch).start()
    ready(folders=[str(tmp_path / "a" / "b")], wait_for=[str(late)], wait_s=20.0)
    assert late.exists()
    assert (tmp_path / "a" / "b").is_dir()


def test_a_file_that_does_not_come_is_named(tmp_path: Path) -> None:
    paths = [str(tmp_path / f"{i}") for i in range(12)]
    with pytest.raises(TimeoutError, match=rf"after 0 seconds \(--latency-wait\): {paths[0]}, .* and 2 more"):
        ready(wait_for=paths)


def test_each_try_fills_in_its_own_folder(tmp_path: Path) -> None:
    script = tmp_path / "script.R"
    script.write_text(f"x <- '{TMPDIR}'; y <- '{TMPDIR}/é'")
    script.chmod(0o755)
    for folder in ("/scratch/1", "/scratch/22"):
        ready(fill=[str(script)], tmpdir=folder)
        assert script.read_text() == f"x <- '{folder}'; y <- '{folder}/é'"
    assert script.stat().st_mode & 0o777 == 0o755


def ready_at_once(cwd: Path, **given: object) -> bool:
    values = {"stale": [], "folders": [], "wait_for": [], "wait_s": 5.0, "fill": [], **given}
    return make_ready_at_once(**values, cwd=str(cwd))  # type: ignore[arg-type]


def test_what_takes_no_time_is_done_at_once(tmp_path: Path) -> None:
    stale = tmp_path / "stale"
    stale.touch()
    (tmp_path / "input").touch()
    made = tmp_path / "a" / "b"
    assert ready_at_once(tmp_path, stale=[(str(stale), False)], folders=[str(made)], wait_for=["input"])
    assert not stale.exists()
    assert made.is_dir()


@pytest.mark.parametrize(
    "given",
    [
        {"fill": ["script"]},
        {"wait_for": ["late"]},
        {"wait_for": ["input"] * (FEW + 1)},
        {"stale": [("folder", False)]},
    ],
)
def test_what_may_take_time_is_left_and_nothing_is_touched(
    tmp_path: Path, given: dict[str, list[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "input").touch()
    given = {"stale": [*given.get("stale", []), ("input", False)], **{k: v for k, v in given.items() if k != "stale"}}
    assert not ready_at_once(tmp_path, **given)
    assert (tmp_path / "input").exists()
    assert (tmp_path / "folder").exists()
