"""Whether a run may have the pilots of another."""

from __future__ import annotations

from dataclasses import replace

import pytest

from snakemake_executor_daskjq.config.settings import Config, ExecutorSettings, configure
from snakemake_executor_daskjq.controller.surroundings import Surroundings, differences

OWN = Surroundings.of_this_process({"PATH": "/bin", "TERM": "xterm"})


def config(**options: object) -> Config:
    return configure(ExecutorSettings(**options))  # type: ignore[arg-type]


def found(config_: Config, cores: int | None = 2, surroundings: Surroundings = OWN) -> list[str]:
    return differences((config(cores=2, memory="4GB"), 2, OWN), (config_, cores, surroundings))


def test_the_same_may_have_them() -> None:
    assert found(config(cores=2, memory="4GB")) == []


@pytest.mark.parametrize(
    "options",
    [{"keep": "5m"}, {"warm_start": "off"}, {"limits": "warn"}, {"keep_successful_logs": True}],
    ids=lambda options: next(iter(options)),
)
def test_what_is_a_runs_own_may_differ(options: dict[str, object]) -> None:
    assert found(config(cores=2, memory="4GB", **options)) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cores": 1, "memory": "4GB"}, "what describes its pilots"),
        ({"cores": 2, "memory": "4GB", "lease": "90s"}, "--daskjq-lease"),
        ({"cores": 2, "memory": "4GB", "max_cores": 2}, "--daskjq-max-cores"),
    ],
)
def test_what_is_its_pilots_may_not(options: dict[str, object], words: str) -> None:
    assert found(config(**options)) == [words]


def test_other_cores_versions_or_variables_are_named() -> None:
    same = config(cores=2, memory="4GB")
    assert found(same, cores=3) == ["--cores"]
    assert found(same, surroundings=replace(OWN, python="/usr/bin/python3")) == [f"Python ({OWN.python})"]
    assert found(same, surroundings=replace(OWN, versions={**OWN.versions, "dask": "0"})) == ["dask"]
    assert found(same, surroundings=replace(OWN, environment={"PATH": "/usr/bin", "TERM": "xterm"})) == [
        "the variable PATH"
    ]
    assert found(same, surroundings=replace(OWN, environment={"PATH": "/bin", "TERM": "screen"})) == []
