"""A workflow and a profile written for the Slurm executor, unchanged, on a real Slurm."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ..workflow import Workflow
from .slurm import SlurmCluster

SNAKEFILE = """
    rule all:
        input: "mapped", "tasks", "long", "extra"
    rule map:
        output: "mapped"
        threads: 2
        shell: "echo {threads} $SLURM_JOB_PARTITION > {output}"
    rule tasks:
        output: "tasks"
        resources: tasks=2, cpus_per_task=1
        shell: "srun -n {resources.tasks} --overlap sh -c 'echo task' > {output}"
    rule long:
        output: "long"
        resources: runtime=20
        shell: "echo $SLURM_JOB_PARTITION > {output}"
    rule extra:
        output: "extra"
        shell: "touch {output}"
"""

PROFILE = """
    executor: slurm
    jobs: 20
    slurm-jobname-prefix: x
    slurm-requeue: true
    latency-wait: 10
    default-resources:
        slurm_partition: short
        slurm_account: lab
        runtime: 3
        mem_mb_per_cpu: 500
    set-resources:
        map:
            cpus_per_task: 3
        long:
            slurm_partition: main
        extra:
            slurm_extra: "'--qos=fast --mail-type=ALL'"
            gres: "shard:1"
"""

POOLS = """
    defaults: {system: slurm, account: lab, cores: 4, memory: 3GiB, max_pilots: 1, idle_timeout: 5s}
    pools:
      main: {partition: main, walltime: 00:30:00}
      short: {partition: short, walltime: 00:05:00}
"""


WITHOUT_THE_SLURM_PLUGIN = """
    import pkgutil
    modules = pkgutil.iter_modules
    pkgutil.iter_modules = lambda *given: (one for one in modules(*given) if "plugin_slurm" not in one.name)
"""


@pytest.mark.feature("profiles and resources of the Slurm executor, `daskjq migrate`", system="slurm")
def test_each_resource_is_honoured_or_told_in_one_warning(workflow: Workflow, slurm: SlurmCluster) -> None:
    workflow.write(SNAKEFILE).write(PROFILE, "profile/config.yaml").write(POOLS, "pools.yaml")
    workflow.options = ("--daskjq-interface", "lo", "--daskjq-pools", "pools.yaml")
    hidden = {**workflow.env, "PYTHONPATH": str(workflow.folder / "hidden")}
    workflow.write(WITHOUT_THE_SLURM_PLUGIN, "hidden/sitecustomize.py")
    workflow.env, shown = hidden, workflow.env
    assert workflow.run("--profile", "profile") == 2
    workflow.env = shown
    assert "unrecognized arguments: --slurm-jobname-prefix=x --slurm-requeue=True" in workflow.output
    command = [sys.executable, "-m", "snakemake_executor_daskjq.cli", "migrate", "profile"]
    migrated = subprocess.run(command, cwd=workflow.folder, capture_output=True, text=True, check=True).stdout
    workflow.write(migrated.replace("daskjq-system: slurm\n", ""), "migrated/config.yaml")  # the pools say it
    assert workflow.run("--profile", "migrated") == 0, workflow.output[-3000:]
    assert workflow.read("mapped") == "2 short\n"
    assert workflow.read("tasks") == "task\ntask\n"
    assert workflow.read("long") == "main\n"
    asked = {event["rule"]: event for event in workflow.journal("job_submitted")}
    assert asked["map"]["amounts"] == {"cores": 3, "mem_mb": 1500}
    assert asked["tasks"]["amounts"] == {"cores": 2, "mem_mb": 1000}
    assert (asked["long"]["runtime_s"], asked["long"]["pools"]) == (1200, ["main"])
    assert (asked["extra"]["runtime_s"], asked["extra"]["pools"]) == (180, ["short"])
    (warning,) = [line for line in workflow.output.splitlines() if "which no pool gives" in line]
    for words in ("qos=fast, which no pool gives", "--mail-type=ALL is passed over", "gres=shard:1 is passed over"):
        assert words in warning
    jobs = {job.job_id: job for job in slurm.jobs()}
    pilots = {event["pilot"]: jobs[event["batch_id"]].partition for event in workflow.journal("pilot_submitted")}
    assert sorted(pilots.values()) == ["main", "short"]
