"""The pools file: what it may hold, and that each mistake is told with its line and key."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_daskjq.config.pools import KEYS, read
from snakemake_executor_daskjq.config.settings import POOL_OPTIONS, ExecutorSettings, configure
from snakemake_executor_daskjq.errors import SettingError
from snakemake_executor_daskjq.model.pool import Pool

EVERYTHING = """\
defaults:
  system: slurm
  account: lab
pools:
  short:
    partition: short
    cores: 4
    memory: 8GB
    walltime: 12:00:00     # YAML 1.1 would read a number
    min_pilots: 1
    max_pilots: 20
    max_queued: 5
    idle_timeout: 2m
    rules: [map*, sort]
  gpu:
    queue: gpu
    account: ~             # not the default's
    cores: 16
    memory: 60GiB
    gpus: 2
    disk: 1TB
    resources: {licenses: 3}
    walltime: 1-00:00:00
    constraint: a100&ib
    nodes: 2
    cost_per_hour: 1.5
    labels: paid
    scratch_folder: /scratch
    config_name: ours
    directives:
      - --qos=long
    prologue: module load cuda
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "pools.yaml"
    path.write_text(text)
    return path


def test_a_file_with_every_key(tmp_path: Path) -> None:
    assert read(written(tmp_path, EVERYTHING)) == (
        Pool(
            *("short", "slurm"),
            cores=4,
            mem_mb=8000,
            walltime_s=43200,
            min_pilots=1,
            max_pilots=20,
            max_queued=5,
            idle_timeout_s=120.0,
            rules=("map*", "sort"),
            queue="short",
            account="lab",
        ),
        Pool(
            *("gpu", "slurm"),
            cores=16,
            mem_mb=64424,
            walltime_s=86400,
            others={"licenses": 3, "gpu": 2, "disk_mb": 1000000},
            nodes=2,
            cost_per_hour=1.5,
            labels=("paid",),
            queue="gpu",
            constraint="a100&ib",
            directives=("--qos=long",),
            prologue=("module load cuda",),
            scratch_folder=Path("/scratch"),
            config_name="ours",
        ),
    )
    assert all(key in EVERYTHING.replace("partition", "queue") for key in set(KEYS) - {"parallel_environment"})


def test_options_and_a_file_with_one_pool_mean_the_same(tmp_path: Path) -> None:
    text = "{system: slurm, queue: main, cores: 4, memory: 3GB, gpus: 1, walltime: 1h, idle_timeout: 9s}"
    by_options = ExecutorSettings(
        system="slurm", queue="main", cores=4, memory="3GB", gpus=1, walltime="1h", idle_timeout="9s"
    )
    assert (
        configure(by_options).pools
        == configure(ExecutorSettings(pools=written(tmp_path, f"pools:\n  main: {text}"))).pools
    )
    assert set(POOL_OPTIONS) <= set(KEYS)


def test_the_readmes_example_and_the_example_profile_are_read(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    example = (root / "README.md").read_text().partition("```yaml\n# pools.yaml")[2].partition("```")[0]
    assert [pool.name for pool in read(written(tmp_path, f"#{example}"))] == ["short", "large", "gpu"]
    stated = {key for key in KEYS if f" {key}: " in example} | {"queue"}
    assert stated == set(KEYS)
    assert [pool.name for pool in read(root / "workflows/profiles/slurm-pools/profile.yaml")] == [
        "short",
        "main",
        "whole",
    ]


def test_a_profile_may_carry_its_pools(tmp_path: Path) -> None:
    text = "executor: daskjq\njobs: 100\ndaskjq-pools: config.yaml\npools:\n  here:\n    system: local\n"
    (pool,) = read(written(tmp_path, text))
    assert (pool.name, pool.system, pool.max_pilots) == ("here", "local", 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1, pools: found None, allowed is a mapping from names to pools"),
        ("pools: 3", "line 1, pools: found '3', allowed is a mapping"),
        ("pools: {}", "line 1, pools: found None, allowed is at least one pool"),
        ("pools:\n  - a\n", "line 2, pools: found 'a list', allowed is a mapping"),
        ("pools:\n  a:\n    system: local\nfoo: 1\n", "line 4, foo: found '1', allowed is the keys pools and defaults"),
        ("pools:\n  a:\n    system: slrum\n", "line 3, pools.a.system: found 'slrum', allowed is one of local, slurm"),
        ("pools:\n  a:\n    cores: 1\n", "line 2, pools.a.system: found None, allowed is one of local"),
        (
            "pools:\n  a:\n    system: slurm\n    cores: four\n",
            "line 4, pools.a.cores: found 'four', allowed is a whole",
        ),
        ("defaults:\n  cores: 0\npools:\n  a:\n    system: slurm\n", "line 2, defaults.cores: found 0, allowed is a"),
        (
            "pools:\n  a:\n    system: slurm\n    kores: 4\n",
            "line 4, pools.a.kores: found '4', allowed is one of the keys",
        ),
        (
            "pools:\n  a:\n    system: slurm\n    preemptible: yes\n",  # documented once, and never of any effect
            "line 4, pools.a.preemptible: found 'yes', allowed is one of the keys system, cores,",
        ),
        (
            "pools:\n  a:\n    system: local\n    queue: x\n",
            "line 4, pools.a.queue: found 'x', allowed is nothing with",
        ),
        ("pools:\n  a:\n    system: pbs\n    nodes: 2\n", "line 4, pools.a.nodes: found '2', allowed is nothing with"),
        ("pools:\n  a:\n    system: local\n  a:\n    system: local\n", "line 4, pools: found 'a', allowed is each key"),
        ("pools:\n  a:\n    system: slurm\n    queue: x\n    partition: y\n", "line 5, pools.a.partition: found 'y'"),
        ("pools:\n  1a:\n    system: local\n", "line 2, pools: found '1a', allowed is names of letters"),
        ("pools:\n  a:\n    system: slurm\n    cores: [1, 2]\n", "line 4, pools.a.cores: found ['1', '2'], allowed is"),
        ("pools:\n  a:\n    rules:\n      - [x]\n", "line 4, pools.a.rules: found 'a sequence', allowed is one value"),
        (
            "pools:\n  a:\n    system: slurm\n    min_pilots: 11\n",
            "line 4, pools.a.min_pilots: found 11, allowed is at",
        ),
        ("pools:\n  a: [\n", "line 3: found"),
        ("pools:\n\ta: 1\n", "line 2: found"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_key(tmp_path: Path, text: str, words: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(SettingError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}, {words}")


def test_a_file_that_is_not_there_and_options_beside_it_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"--daskjq-pools: found '.*pools.yaml', allowed is a file that can be read"):
        read(tmp_path / "pools.yaml")
    path = written(tmp_path, EVERYTHING)
    for option in ({"cores": 4}, {"system": "slurm"}, {"directives": ["--x"]}, {"scratch_folder": tmp_path}):
        with pytest.raises(SettingError, match=r"allowed is nothing beside --daskjq-pools: state it in .*pools.yaml"):
            configure(ExecutorSettings(pools=path, **option))


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(st.one_of(words, st.sampled_from(list(KEYS))), st.one_of(words, st.lists(words), st.dictionaries(words, words)))
def test_any_key_with_any_value_is_a_pool_or_a_setting_error(
    tmp_path_factory: pytest.TempPathFactory, key: str, value: object
) -> None:
    import yaml

    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(yaml.safe_dump({"pools": {"a": {"system": "slurm", key: value}}}), encoding="utf-8")
    try:
        assert [pool.name for pool in read(path)] == ["a"]
    except SettingError as error:
        if not error.place or not error.allowed:
            raise AssertionError(f"{error} does not say where or what else") from error
