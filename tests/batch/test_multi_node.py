"""Rules of several nodes: a pilot holds an allocation of so many, and launchers reach them all."""

from __future__ import annotations

import pytest

from ..programs import MPI
from ..workflow import Workflow
from .slurm import SlurmCluster

PROGRAM = """\
    #include <mpi.h>
    #include <stdio.h>
    #include <stdlib.h>
    int main(int argc, char **argv) {
        int rank, size;
        long sum, one;
        MPI_Init(&argc, &argv);
        MPI_Comm_rank(MPI_COMM_WORLD, &rank);
        MPI_Comm_size(MPI_COMM_WORLD, &size);
        one = rank + 1;
        MPI_Reduce(&one, &sum, 1, MPI_LONG, MPI_SUM, 0, MPI_COMM_WORLD);
        printf("rank %d on %s\\n", rank, getenv("SLURMD_NODENAME"));
        if (rank == 0) printf("%d ranks, sum %ld\\n", size, sum);
        MPI_Finalize();
        return 0;
    }
"""

SNAKEFILE = """
    localrules: compile
    rule all:
        input: "pi", "by_srun", "steps", "single", "one"
    rule compile:
        input: "sum.c"
        output: "sum"
        shell: "mpicc -o {output} {input}"
    rule pi:
        input: "sum"
        output: "pi"
        resources: tasks=4, nodes=2, mpi="mpirun", mem_mb=500, runtime=3
        shell: "{resources.mpi} -n {resources.tasks} ./{input} > {output}"
    rule by_srun:
        input: "sum"
        output: "by_srun"
        resources: tasks=4, nodes=2, mpi="srun", mem_mb=500, runtime=3
        shell: "{resources.mpi} --mpi=pmix --overlap -n {resources.tasks} ./{input} > {output}"
    rule steps:
        output: "steps"
        resources: tasks=6, mpi="srun", mem_mb=500, runtime=3
        shell: "{resources.mpi} -n {resources.tasks} sh -c 'echo $SLURMD_NODENAME' > {output}"
    rule one:
        input: "sum"
        output: "one"
        resources: tasks=3, mpi="mpirun", mem_mb=500, runtime=3
        shell: "{resources.mpi} -n {resources.tasks} ./{input} > {output}"
    rule single:
        output: "single"
        resources: runtime=3
        shell: "echo $SLURM_JOB_NUM_NODES > {output}"
"""

# The two virtual nodes are one host: its shared memory is not what ranks of different nodes may use.
POOLS = """
    defaults:
      system: slurm
      cores: 4
      memory: 2GiB
      walltime: 00:10:00
      max_pilots: 1
      idle_timeout: 60s
      prologue:
        - export OMPI_MCA_btl=tcp,self OMPI_MCA_btl_tcp_if_include=lo OMPI_MCA_oob_tcp_if_include=lo
        - export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    pools:
      one: {partition: main}
      two: {nodes: 2}
"""


@pytest.mark.needs(*MPI)
@pytest.mark.feature("tasks, nodes, mpi: mpirun and srun with MPI on several nodes", system="slurm")
def test_mpirun_and_srun_reach_all_nodes_of_the_pilot(workflow: Workflow, slurm: SlurmCluster) -> None:
    workflow.write(SNAKEFILE).write(PROGRAM, "sum.c").write(POOLS, "pools.yaml")
    workflow.options = ("--daskjq-interface", "lo", "--daskjq-pools", "pools.yaml")
    assert workflow.run("--jobs", "4", "--cores", "2") == 0, workflow.output[-3000:]
    for launched in ("pi", "by_srun"):
        lines = workflow.read(launched).splitlines()
        nodes = [line.split()[-1] for line in lines if line.startswith("rank ")]
        assert "4 ranks, sum 10" in lines
        assert len(set(nodes)) == 2
        assert sorted(map(nodes.count, set(nodes))) == [2, 2]
    assert set(workflow.read("steps").split()) == set(nodes)  # six tasks: more than one node has
    assert len(workflow.read("steps").split()) == 6
    assert workflow.read("single") == "1\n"
    assert "3 ranks, sum 6" in workflow.read("one")
    pilots = {event["pilot"]: event["batch_id"] for event in workflow.journal("pilot_submitted")}
    placed = {event["key"].partition("-")[0]: event["pilot"] for event in workflow.journal("job_placed")}
    assert placed["pi"] == placed["by_srun"] == placed["steps"] != placed["single"] == placed["one"]
    (job,) = [job for job in slurm.jobs() if job.job_id == pilots[placed["pi"]]]
    assert job.cpus == 8
    workflow.wait_until(lambda: slurm.queued_or_running() == [])
