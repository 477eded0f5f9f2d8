"""Names, folders and files: what a Snakefile does to them, and what jobs find."""

from __future__ import annotations

from pathlib import Path

import pytest

from snakemake_executor_daskjq.config.settings import ExecutorSettings

from ..idiom import FOLDER, Idiom, each_name_or_a_refusal, folder_of_link_and_file_of_tomorrow, temporary_folders
from ..levels import LEVELS
from .test_idioms_run import RUN
from .test_idioms_state import STATE

FILES = (
    Idiom("chdir"),
    Idiom("files", prepare=folder_of_link_and_file_of_tomorrow),
    Idiom("globcwd"),
    Idiom("names", check=each_name_or_a_refusal),
    Idiom("tempdir_assigned"),
    Idiom("tmpdir_env", check=temporary_folders),
    Idiom("workdir"),
)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("idiom", FILES, ids=str)
def test_it_comes_out_as_under_local(tmp_path: Path, idiom: Idiom) -> None:
    idiom.verify(tmp_path)


def test_no_idiom_is_left_out() -> None:
    assert {idiom.name for idiom in (*FILES, *RUN, *STATE)} == {path.name for path in FOLDER.iterdir()}


def test_the_default_is_the_warmest_level() -> None:
    """What is run by default need not be run once more at that level."""
    assert ExecutorSettings().warm_start == LEVELS[-1]
