"""Insides of Snakemake that are not as expected: what goes on without them does, and what can't is told."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import snakemake.cli  # before snakemake.workflow, which can't be imported alone
import snakemake.workflow

from snakemake_executor_daskjq.cli import preview
from snakemake_executor_daskjq.errors import UnexpectedSnakemakeError
from snakemake_executor_daskjq.executor.remaining_work import look_ahead
from snakemake_executor_daskjq.model.request import Outlook


class Dag:
    """One whose jobs are no jobs."""

    def needrun_jobs(self) -> list[object]:
        return [SimpleNamespace(name="a")]


@pytest.mark.parametrize(
    ("dag", "words"),
    [(SimpleNamespace(), "has no attribute 'needrun_jobs'"), (Dag(), "has no attribute 'group'"), (None, "'NoneType'")],
)
def test_a_dag_that_cannot_be_read_is_told_and_anything_may_come(dag: object, words: str) -> None:
    warned: list[str] = []
    assert look_ahead(dag, warned.append) == Outlook({}, {}, is_open_ended=True)
    (warning,) = warned
    assert "what the workflow has before it can't be read from this Snakemake" in warning
    assert words in warning


def test_this_snakemake_can_be_previewed() -> None:
    preview.check(snakemake.workflow.Workflow)


def test_a_preview_tells_what_another_snakemake_lacks() -> None:
    class Without:
        def execute(self, executor_plugin: object, executor_settings: object) -> None: ...

    class Renamed(Without):
        def _prepare_dag(self, force_all: bool, ignore_incomplete: bool, lock_warn_only: bool) -> None: ...

    with pytest.raises(UnexpectedSnakemakeError, match=r"\(no Workflow._prepare_dag\).* Check the pools alone"):
        preview.check(Without)
    with pytest.raises(UnexpectedSnakemakeError, match=r"\(Workflow._prepare_dag takes no forceall\)"):
        preview.check(Renamed)
