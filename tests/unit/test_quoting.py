"""Options of spawned jobs: a shell (and `shlex`) reads exactly what Snakemake was told."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from snakemake import spawn_jobs
from snakemake.api import SnakemakeApi
from snakemake.settings.types import (
    ConfigSettings,
    DAGSettings,
    ExecutionSettings,
    GroupSettings,
    OutputSettings,
    ResourceSettings,
    SchedulingSettings,
    SharedFSUsage,
    StorageSettings,
    WorkflowSettings,
)
from snakemake_interface_executor_plugins.utils import format_cli_arg

from snakemake_executor_daskjq.executor import common_settings, quoting


@pytest.fixture
def workflow(tmp_path: Path) -> Iterator[Any]:
    """A parsed workflow with settings of all kinds (words, paths, numbers, mappings, choices) and ordinary values."""
    snakefile = tmp_path / "Snakefile"
    snakefile.write_text("rule a:\n    output: 'a'\n    shell: 'touch {output}'\n")
    (tmp_path / "over ride.yaml").write_text("a: 1")
    with SnakemakeApi(OutputSettings()) as api:
        made = api.workflow(
            ResourceSettings(cores=3, nodes=2, max_threads=2, overwrite_scatter={"s": 4}),
            ConfigSettings(config_args=["sample=A 1", "n=5"], configfiles=[tmp_path / "over ride.yaml"]),
            StorageSettings(shared_fs_usage=frozenset({SharedFSUsage.SOURCES, SharedFSUsage.SOURCE_CACHE})),
            WorkflowSettings(wrapper_prefix="https://example.org/a b/"),
            snakefile=snakefile,
            workdir=tmp_path,
        )
        made._workflow_store = None
        yield made._workflow


def test_ordinary_values_come_out_as_snakemake_has_them(workflow: Any) -> None:
    workflow.execution_settings, workflow.scheduling_settings = ExecutionSettings(), SchedulingSettings()
    workflow.dag_settings = DAGSettings()
    workflow.group_settings = GroupSettings(overwrite_groups={"a": "g"}, group_components={"g": 2})
    factory = workflow.spawned_job_args_factory
    before = shlex.split(factory.general_args(executor_common_settings=common_settings))
    with quoting.exact():
        assert shlex.split(factory.general_args(executor_common_settings=common_settings)) == before
    for part in ("sample=A 1", "s=4", "a=g", "g=2", "https://example.org/a b/"):
        assert part in before
    assert spawn_jobs.format_cli_arg is format_cli_arg


def test_another_snakemake_than_expected_stays_as_it_is(workflow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(flag: str, value: Any) -> str:
        return f"{flag} {value}"

    monkeypatch.setattr(spawn_jobs, "format_cli_arg", other)
    with quoting.exact():
        assert spawn_jobs.format_cli_arg is other


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


@given(texts)
@example(r"\d+")
@example("'\"")
@example("\"a\" and 'b'")
@example("'quoted'")
@example("$HOME `x` \n")
def test_any_value_is_read_as_it_was_given(text: str) -> None:
    values = [f"k={text}", "other=1"]
    assert shlex.split(quoting.format_cli_arg("--config", values)) == ["--config", *values]
    assert shlex.split(quoting.format_cli_arg("--set-scatter", {"a": text, "b": 1})) == [
        "--set-scatter",
        f"a={text}",
        "b=1",
    ]
    one = shlex.split(quoting.format_cli_arg("--shadow-prefix", text))
    assert one == ([f"--shadow-prefix={text}"] if text.startswith("-") else ["--shadow-prefix", text])
    assert shlex.split(quoting.format_cli_arg("--shadow-prefix", Path(text)))[0].startswith("--shadow-prefix")
    assert quoting.format_cli_arg("--x", text, base64_encode=True) == format_cli_arg("--x", text, base64_encode=True)
