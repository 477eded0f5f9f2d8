"""What the Slurm executor's documentation says of each resource, and where a job goes with it here."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_daskjq.errors import ClosedPoolsError
from snakemake_executor_daskjq.model.pool import Pool
from snakemake_executor_daskjq.model.request import Request
from snakemake_executor_daskjq.resources.mapping import amounts, check_feasible, open_pools, unmet_labels
from snakemake_executor_daskjq.resources.migration import translate

MAIN = Pool("main", "slurm", queue="main", cores=8, mem_mb=16000)
LONG = Pool("long", "slurm", queue="long", cores=8, mem_mb=16000, directives=("--qos=long", "-M other"))
GPU = Pool("gpu", "slurm", queue="gpu", cores=8, mem_mb=16000, others={"gpu": 4, "lscratch": 100}, constraint="a100&ib")
WIDE = Pool("wide", "slurm", queue="main", cores=8, mem_mb=16000, nodes=2)
POOLS = (MAIN, LONG, GPU, WIDE)


@pytest.mark.parametrize(
    ("stated", "wanted"),
    [
        ({"_cores": 4}, {"cores": 4}),
        ({"_cores": 4, "cpus_per_task": 2}, {"cores": 2}),  # resources go before threads
        ({"_cores": 1, "tasks": 3, "cpus_per_task": 2}, {"cores": 6}),
        ({"_cores": 2, "mem_mb_per_cpu": 1800}, {"cores": 2, "mem_mb": 3600}),
        ({"_cores": 2, "mem_mb_per_cpu": 1800, "mem_mb": 9}, {"cores": 2, "mem_mb": 3600}),
        ({"_cores": 1, "cpus_per_task": 4, "mem_mb_per_cpu": 100}, {"cores": 4, "mem_mb": 400}),
        ({"_cores": 1, "gres": "gpu:2"}, {"cores": 1, "gpu_percent": 200}),
        ({"_cores": 1, "gres": "gpu:a100:3,lscratch:50"}, {"cores": 1, "gpu_percent": 300, "lscratch": 50}),
        ({"_cores": 1, "gpu": 1, "gpu_model": "a100"}, {"cores": 1, "gpu_percent": 100}),
        ({"_cores": 2, "gpu": 2, "tasks_per_gpu": 2}, {"cores": 8, "gpu_percent": 200}),
        ({"_cores": 2, "gpu": 2, "cpus_per_gpu": 3}, {"cores": 6, "gpu_percent": 200}),
        ({"_cores": 1, "slurm_extra": "'--gres=gpu:1 -c 4'"}, {"cores": 4, "gpu_percent": 100}),
        ({"_cores": 1, "slurm_extra": "--gpus=2"}, {"cores": 1, "gpu_percent": 200}),
        ({"_cores": 2, "tasks": 8, "nodes": 2, "mpi": "srun"}, {"cores": 8}),  # on each of the two nodes
        ({"_cores": 1, "tasks_per_node": 4, "nodes": 2, "mpi": "srun"}, {"cores": 4}),
    ],
)
def test_amounts(stated: dict[str, Any], wanted: dict[str, int]) -> None:
    translated = translate(stated, POOLS)
    assert amounts(translated.resources, {"lscratch"}) == wanted
    assert translated.passed_over == ()


@pytest.mark.parametrize(
    ("stated", "names"),
    [
        ({"slurm_partition": "long"}, ("long",)),
        ({"qos": "long"}, ("long",)),
        ({"slurm_extra": "--qos=long"}, ("long",)),
        ({"slurm_extra": "-q long -p long"}, ("long",)),
        ({"clusters": "other"}, ("long",)),
        ({"cluster": "other"}, ("long",)),
        ({"gres": "gpu:a100:1"}, ("gpu",)),
        ({"gpu": 1, "gpu_model": "a100"}, ("gpu",)),
        ({"constraint": "a100&ib"}, ("gpu",)),
        ({"nodes": 2, "tasks": 4, "mpi": "mpirun"}, ("wide",)),
        ({"tasks": 16, "mpi": "srun"}, ("wide",)),  # more than one node has
        ({"tasks": 8, "mpi": "srun"}, ("main", "long", "gpu")),
        ({}, ("main", "long", "gpu")),
    ],
)
def test_what_selects_a_pool(stated: dict[str, Any], names: tuple[str, ...]) -> None:
    resources = translate({"_cores": 1, **stated}, POOLS).resources
    assert open_pools("a", resources, POOLS) == names
    assert unmet_labels(resources, POOLS) == []


def test_what_no_pool_offers_is_told() -> None:
    stated = {
        "_cores": 1,
        "qos": "fast",
        "clusters": "c9",
        "gpu_model": "h100",
        "gres": "shard:1",
        "slurm_extra": "--x 1 -y",
    }
    translated = translate(stated, POOLS)
    assert unmet_labels(translated.resources, POOLS) == ["qos=fast", "clusters=c9", "gpu_model=h100"]
    assert [told.partition(" is passed over")[0] for told in translated.passed_over] == [
        "slurm_extra's --x 1 -y",
        "gres=shard:1",
    ]
    with pytest.raises(ClosedPoolsError, match=r"main: its pilots have 1 node, the job asks for 5; .*wide: its pilots"):
        open_pools("a", translate({"_cores": 1, "nodes": 5}, POOLS).resources, POOLS)


def test_launchers_are_told_what_a_batch_job_of_their_own_would_tell_them() -> None:
    translated = translate({"_cores": 1, "tasks": 4, "nodes": 2, "mpi": "mpirun"}, POOLS)
    assert translated.environment["SLURM_NTASKS"] == "4"
    assert translated.environment["SLURM_TASKS_PER_NODE"] == "2(x2)"
    alone = translate({"_cores": 1, "tasks": 4, "cpus_per_task": 2}, POOLS)
    assert (alone.environment["SLURM_TASKS_PER_NODE"], alone.environment["SLURM_CPUS_PER_TASK"]) == ("4", "2")
    assert translate({"_cores": 4}, POOLS).environment == {}


def test_on_this_machine_nodes_are_passed_over_as_under_snakemakes_local_execution() -> None:
    here = (Pool("local", "local", cores=2, mem_mb=1000),)
    assert translate({"_cores": 1, "tasks": 4, "nodes": 2, "mpi": "mpirun"}, here).nodes == 1


values = st.one_of(st.integers(-5, 10**6), st.text(max_size=12), st.none(), st.booleans(), st.floats(0, 1e6))
names = ["_cores", "cpus_per_task", "tasks", "nodes", "tasks_per_node", "tasks_per_gpu", "cpus_per_gpu", "gpu", "mpi"]
names += ["mem_mb_per_cpu", "mem_mb", "gres", "slurm_extra", "qos", "clusters", "constraint", "slurm_partition"]
texts = st.sampled_from(["gpu:2", "gpu:a:1(S:0)", "--qos=x", "-p a -c 3", "--gres=gpu:1,b:2", "'", "srun", "long"])


@given(st.dictionaries(st.sampled_from(names), st.one_of(values, texts)))
def test_any_resources_are_whole_amounts_or_a_clear_error(stated: dict[str, Any]) -> None:
    translated = translate(stated, POOLS)
    wanted = amounts(translated.resources)
    assert wanted["cores"] >= 1
    assert all(isinstance(amount, int) and amount > 0 for amount in wanted.values())
    assert translated.nodes >= 1
    try:
        opened = open_pools("a", translated.resources, POOLS)
        check_feasible(Request("k", 1, "a", 1, wanted, pools=opened), POOLS)
    except Exception as error:
        if type(error).__module__ != "snakemake_executor_daskjq.errors":
            raise
