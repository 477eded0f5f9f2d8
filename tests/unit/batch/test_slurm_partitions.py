"""What Slurm says of its partitions -> the shapes of pilots. The texts are a real Slurm's, and odd ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_daskjq.batch import slurm_partitions
from snakemake_executor_daskjq.config.pools import read
from snakemake_executor_daskjq.errors import DiscoveryError
from snakemake_executor_daskjq.model.pool import Pool

REAL = (
    "PartitionName=main AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL AllocNodes=ALL Default=YES QoS=N/A "
    "DefaultTime=NONE DisableRootJobs=NO MaxNodes=UNLIMITED MaxTime=01:00:00 MinNodes=0 MaxCPUsPerNode=UNLIMITED "
    "Nodes=n[1-4] RootOnly=NO PreemptMode=OFF State=UP TotalCPUs=16 TotalNodes=4 DefMemPerNode=UNLIMITED "
    "MaxMemPerNode=UNLIMITED TRES=cpu=16,mem=16000M,node=4,billing=16\n"
    "PartitionName=short AllowGroups=ALL AllowAccounts=ALL Default=NO MaxTime=00:05:00 MaxCPUsPerNode=UNLIMITED "
    "Nodes=n[1-4] State=UP DefMemPerNode=UNLIMITED MaxMemPerNode=UNLIMITED\n"
)
REAL_NODES = "main|4|4000|(null)|4\nshort|4|4000|(null)|4\n"

LARGE = (
    "PartitionName=long Default=NO MaxTime=14-00:00:00 DefMemPerCPU=2000 State=UP\n"
    "PartitionName=batch.1 Default=YES MaxTime=UNLIMITED MaxMemPerCPU=4000 MaxCPUsPerNode=UNLIMITED State=UP\n"
    "PartitionName=gpu Default=NO MaxTime=08:00:00 State=UP\n"
    "PartitionName=secret Default=NO AllowGroups=spies MaxTime=08:00:00 State=UP\n"
    "PartitionName=paid Default=NO AllowAccounts=rich,richer MaxTime=08:00:00 State=UP\n"
    "PartitionName=off Default=NO MaxTime=08:00:00 State=DOWN\n"
    "PartitionName=empty Default=NO MaxTime=08:00:00 State=UP\n"
)
LARGE_NODES = (
    "batch.1|128|515000|(null)|90\nbatch.1|128|2063000|(null)|4\nlong|48|191000+|(null)|20\n"
    "gpu|64|515000|gpu:a100:4(S:0-3)|3\ngpu|64|515000|gpu:a100:4(S:0-3)|1\n"
    "secret|8|9000|(null)|1\npaid|8|9000|(null)|1\noff|8|9000|(null)|1\nsinfo: warning\n\nx|y|z|0|0\n"
)


def pools(partitions: str, nodes: str, account: str | None = None) -> list[Pool]:
    return slurm_partitions.usable(slurm_partitions.parse(partitions, nodes, {"staff"}, account))


def shape(pool: Pool) -> tuple[object, ...]:
    return pool.name, pool.queue, pool.cores, pool.mem_mb, pool.walltime_s, pool.others


def test_small_nodes_are_pilots_as_they_are() -> None:
    assert [shape(pool) for pool in pools(REAL, REAL_NODES)] == [
        ("main", "main", 4, 3221, 3600, {}),
        ("short", "short", 4, 3221, 300, {}),
    ]


def test_large_nodes_are_shared_within_the_limits_and_whole_for_what_no_share_holds() -> None:
    day, week = 86400, 7 * 86400
    assert [shape(pool) for pool in pools(LARGE, LARGE_NODES)] == [
        ("batch_1", "batch.1", 16, 62 * 2**30 // 10**6, day, {}),  # 515000 * 16/128, in whole GiB
        ("long", "long", 16, 31 * 2**30 // 10**6, day, {}),  # DefMemPerCPU * 16
        ("gpu_gpu", "gpu", 16, 125 * 2**30 // 10**6, 28800, {"gpu": 1}),
        ("batch_1_long", "batch.1", 16, 62 * 2**30 // 10**6, week, {}),
        ("batch_1_node", "batch.1", 128, 2014 * 2**30 // 10**6, week, {}),
        ("long_long", "long", 16, 31 * 2**30 // 10**6, 2 * week, {}),
        ("long_node", "long", 48, 186 * 2**30 // 10**6, 2 * week, {}),
        ("gpu_gpus", "gpu", 64, 502 * 2**30 // 10**6, 28800, {"gpu": 4}),
    ]


def test_partitions_that_the_user_can_not_use_are_left_out_with_the_reason() -> None:
    barred = {
        one.name: one.barred for one in slurm_partitions.parse(LARGE, LARGE_NODES, {"staff"}, "lab") if one.barred
    }
    assert barred == {
        "secret": "it is for the groups spies",
        "paid": "it is for the accounts rich,richer",
        "off": "its state is DOWN",
    }
    assert "paid" in {pool.name for pool in pools(LARGE, LARGE_NODES, account="rich")}


def test_the_written_file_is_a_pools_file(tmp_path: Path) -> None:
    for texts in ((REAL, REAL_NODES), (LARGE, LARGE_NODES)):
        partitions = slurm_partitions.parse(*texts, {"staff"}, None)
        path = tmp_path / "pools.yaml"
        path.write_text(slurm_partitions.pools_file(partitions))
        assert list(read(path)) == slurm_partitions.usable(partitions)
    assert "# Left out: partition secret, because it is for the groups spies." in path.read_text()


names = st.sampled_from(["main", "main_node", "gpu", "9x", "a.b", "a_b", "null"])
words = st.one_of(
    st.text(max_size=8), st.integers(0, 10**6).map(str), st.sampled_from(["UNLIMITED", "N/A", "4+", "1-00:00:00"])
)
partition_lines = st.builds(
    lambda name, pairs: f"PartitionName={name} " + " ".join(f"{key}={value}" for key, value in pairs.items()),
    names,
    st.dictionaries(st.sampled_from(["MaxTime", "State", "DefMemPerCPU", "MaxMemPerNode", "MaxCPUsPerNode"]), words),
)
node_lines = st.builds(
    lambda name, cores, memory, gpus, count: f"{name}|{cores}|{memory}|gpu:{gpus}|{count}",
    *(names, st.integers(0, 300), st.integers(0, 10**7), st.integers(0, 8), words),
)


@given(
    st.lists(st.one_of(partition_lines, st.text())).map("\n".join),
    st.lists(st.one_of(node_lines, st.text())).map("\n".join),
)
def test_whatever_slurm_says_pilots_fit_its_nodes(partitions: str, nodes: str) -> None:
    for partition in slurm_partitions.parse(partitions, nodes, [], None):
        for pool in slurm_partitions.shapes(partition):
            assert any(
                pool.amounts["cores"] <= kind.cores
                and pool.amounts["mem_mb"] <= max(1, kind.memory_mib * 2**20 // 10**6)
                and pool.others.get("gpu", 0) <= kind.gpus
                for kind in partition.kinds
            )


@given(
    st.lists(st.one_of(partition_lines, st.text())).map("\n".join),
    st.lists(st.one_of(node_lines, st.text())).map("\n".join),
)
def test_whatever_slurm_says_the_written_file_has_the_same_pools(
    tmp_path_factory: pytest.TempPathFactory, partitions: str, nodes: str
) -> None:
    found = slurm_partitions.parse(partitions, nodes, [], None)
    path = tmp_path_factory.getbasetemp() / "written.yaml"
    path.write_text(slurm_partitions.pools_file(found))
    if pools := slurm_partitions.usable(found):
        assert list(read(path)) == pools


def test_without_slurm_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(DiscoveryError, match=r"the command scontrol is not there.*--daskjq-cores"):
        slurm_partitions.discover()
