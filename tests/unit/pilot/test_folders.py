"""Folders that a job has for itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

from snakemake_executor_daskjq.model.request import Command, Launch
from snakemake_executor_daskjq.pilot.folders import own


def left_by(launch: Launch, tmpdir: Path) -> tuple[Launch, list[Path]]:
    async def body() -> tuple[Launch, list[Path]]:
        async with own(launch, str(tmpdir)) as ready:
            return ready, list(tmpdir.iterdir())

    return asyncio.run(body())


def test_a_job_without_a_working_directory_gets_one(tmp_path: Path) -> None:
    ready, made = left_by(Launch("a", (), (), "", "/log", "python"), tmp_path)
    assert made == [Path(ready.cwd)] == [tmp_path / "work"]


def test_a_command_says_where_it_works_and_finds_its_folder_empty(tmp_path: Path) -> None:
    """So the next job can have that folder, too."""
    launch = Launch("a", (), (), "", "/log", "", command=Command((("true",),), "/"))
    assert left_by(launch, tmp_path) == (launch, [])
