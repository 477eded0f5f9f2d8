"""Pools on a real Slurm with two partitions, `main` and `short` (5 minutes), learned from it or named in a file."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

from snakemake_executor_daskjq.config.pools import read

from ..workflow import Workflow
from .slurm import SlurmCluster

MIXED = """
    rule all:
        input: expand("quick{i}", i=range(8)), expand("long{i}", i=range(2)), "wide", "here"
    rule quick:
        output: "quick{i}"
        resources: runtime=1
        shell: "touch {output}"
    rule long:
        output: "long{i}"
        resources: runtime=20, mem_mb=500
        shell: "touch {output}"
    rule wide:
        output: "wide"
        threads: 4
        resources: mem_mb=3000, runtime=4
        shell: "touch {output}"
    rule here:
        output: "here"
        resources: slurm_partition="short", runtime=1
        shell: "echo $SLURM_JOB_PARTITION > {output}"
"""

POOLS = """
    defaults: {system: slurm, idle_timeout: 5s}
    pools:
      short: {partition: short, cores: 2, memory: 1GiB, walltime: 00:05:00, max_pilots: 2}
      main: {partition: main, cores: 4, memory: 3GiB, walltime: 00:30:00, max_pilots: 2}
"""


def partitions(workflow: Workflow, slurm: SlurmCluster) -> dict[str, str]:
    """Slurm's own word on each pilot of the last run."""
    jobs = {job.job_id: job for job in slurm.jobs()}
    return {
        event["pilot"]: f"{jobs[event['batch_id']].partition} {jobs[event['batch_id']].cpus} "
        f"{jobs[event['batch_id']].memory} {jobs[event['batch_id']].time_limit}"
        for event in workflow.journal("pilot_submitted")
    }


def test_shapes_mix_and_no_job_goes_where_its_runtime_does_not_fit(workflow: Workflow, slurm: SlurmCluster) -> None:
    workflow.options = ("--daskjq-interface", "lo", "--daskjq-pools", "pools.yaml")
    workflow.write(MIXED).write(POOLS, "pools.yaml")
    assert workflow.run("--jobs", "20") == 0, workflow.output[-3000:]
    assert workflow.read("here") == "short\n"
    shapes = partitions(workflow, slurm)
    assert set(shapes.values()) == {"short 2 1G 00:05:00", "main 4 3G 00:30:00"}
    placed = Counter(
        (event["key"].partition("-")[0], shapes[event["pilot"]].split()[0]) for event in workflow.journal("job_placed")
    )
    assert placed["long", "main"] == 2
    assert placed["wide", "main"] == 1
    assert placed["long", "short"] == placed["wide", "short"] == 0


def test_without_any_shape_slurms_partitions_are_the_pools(workflow: Workflow, slurm: SlurmCluster) -> None:
    workflow.options = ("--daskjq-interface", "lo", "--daskjq-system", "slurm", "--daskjq-max-pilots", "2")
    workflow.write(MIXED)
    assert workflow.run("--jobs", "20") == 0, workflow.output[-3000:]
    (started,) = workflow.journal("run_started")
    assert list(started["pools"]) == ["main", "short"]
    assert set(partitions(workflow, slurm).values()) == {"short 4 3G 00:05:00", "main 4 3G 01:00:00"}
    assert workflow.read("here") == "short\n"


def test_from_slurm_writes_a_file_that_check_reads(tmp_path: Path, slurm: SlurmCluster) -> None:
    command = [sys.executable, "-m", "snakemake_executor_daskjq.cli", "pools"]
    env = {"PATH": "/usr/bin:/bin", **slurm.env}
    written = subprocess.run([*command, "from-slurm"], env=env, capture_output=True, text=True, check=True, timeout=60)
    path = tmp_path / "pools.yaml"
    path.write_text(written.stdout)
    assert [(pool.name, pool.cores, pool.mem_mb, pool.walltime_s) for pool in read(path)] == [
        ("main", 4, 3221, 3600),
        ("short", 4, 3221, 300),
    ]
    checked = subprocess.run([*command, "check", str(path)], env=env, capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0
    scripts = checked.stdout.split("pool ")[1:]
    for script in scripts:  # Slurm itself would take them
        lines = [line[4:] for line in script.splitlines() if line.startswith("    #")]
        text = "\n".join(lines).replace("RUN/pilots", str(tmp_path)) + "\ntrue\n"
        subprocess.run(["sbatch", "--test-only"], input=text, env=env, text=True, check=True, timeout=30)


def test_explain_tells_slurms_reason_for_a_pilot_that_waits(workflow: Workflow) -> None:
    workflow.write("""
        rule all:
            input: expand("{i}", i=range(5))
        rule wide:
            output: "{i}"
            threads: 4
            resources: runtime=5
            shell: "touch started{wildcards.i}; while [ ! -e go ]; do sleep 0.05; done; touch {output}"
    """)
    process = workflow.start("--jobs", "5", "--daskjq-idle-timeout", "3s")
    workflow.wait_until(lambda: workflow.run_folders)
    workflow.wait_until(lambda: workflow.journal("pilot_waits") and len(workflow.journal("job_placed")) == 4)
    command = [sys.executable, "-m", "snakemake_executor_daskjq.cli", "explain", "wide"]
    told = subprocess.run(command, cwd=workflow.folder, capture_output=True, text=True, check=True, timeout=60).stdout
    (waiting,) = [line for line in told.splitlines() if "waiting since" in line]
    assert "(cores=4, " in waiting
    assert "1 of its pilots wait in the batch queue (Resources)" in told
    assert told.count("cores=0 free of 4; 1 job runs there.") == 4
    assert "Estimate: it starts about " in told
    (workflow.folder / "go").touch()
    assert process.wait(60) == 0
