"""Profiles of the Slurm executor in daskjq's words: what is written must be read by Snakemake, and mean the same."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_daskjq.cli.profile_migration import migrate
from snakemake_executor_daskjq.errors import DaskjqError

PROFILE = """\
# of our group
executor: slurm
"slurm-status-command": sacct   # quoted
slurm-exclude-failed-nodes:
    n1,n2

slurm-jobname-prefix: |
    a
    b
slurm-logdir: logs
slurm-keep-successful-logs: true
slurm-novel: 1
default-resources:
    slurm_partition: main   # stays: the executor reads it
    runtime: 5
set-threads: {a: 2}
"""


def test_settings_become_daskjqs_own_or_comments() -> None:
    written = migrate(PROFILE)
    assert yaml.safe_load(written) == {
        "executor": "daskjq",
        "daskjq-system": "slurm",
        "daskjq-log-folder": "logs",
        "daskjq-keep-successful-logs": True,
        "default-resources": {"slurm_partition": "main", "runtime": 5},
        "set-threads": {"a": 2},
        "daskjq-directives": "--exclude=n1,n2",
    }
    lines = written.splitlines()
    assert lines[0] == "# of our group"
    assert "# slurm-novel: 1  # unknown to daskjq" in lines
    assert "    slurm_partition: main   # stays: the executor reads it" in lines


def test_own_directives_and_pools_are_not_touched() -> None:
    for own in ("daskjq-directives: --exclusive", "daskjq-pools: pools.yaml"):
        written = migrate(f"slurm-qos: long\n{own}\n")
        assert yaml.safe_load(written) == yaml.safe_load(own)
        assert "# add to the directives of your pools: --qos=long" in written
    assert migrate("executor: daskjq\njobs: 3\n") == "executor: daskjq\njobs: 3\n"


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [", "", "{executor: slurm}"])
def test_what_is_no_profile_is_told(text: str) -> None:
    with pytest.raises(DaskjqError, match="profile"):
        migrate(text)


NAMES = st.sampled_from(["slurm-qos", "slurm-requeue", "slurm-logdir", "slurm-status-command", "executor", "jobs", "x"])
VALUES = st.one_of(
    st.sampled_from(["slurm", "text", True, 7]), st.lists(st.integers(), max_size=3), st.dictionaries(NAMES, NAMES)
)


@given(st.dictionaries(NAMES, VALUES, min_size=1))
def test_the_rest_stays_as_it_is(settings: dict[str, object]) -> None:
    after = yaml.safe_load(migrate(yaml.safe_dump(settings, default_flow_style=False))) or {}
    kept = {name: value for name, value in settings.items() if name in ("jobs", "x")}
    assert {name: after[name] for name in kept} == kept
    assert not [name for name in after if name.startswith("slurm-")]
