"""Pilots that outlive a run, on a real Slurm."""

from __future__ import annotations

from ..integration.test_keep import daskjq
from ..workflow import Workflow
from .slurm import SlurmCluster

SNAKEFILE = """
    rule all:
        input: expand("{i}.txt", i=range(12))
    rule one:
        output: "{i}.txt"
        shell: "echo begun >> marks-{wildcards.i}; sleep SECONDS; touch {output}"
"""
KEEP = ("--jobs", "unlimited", "--daskjq-keep", "5m")


def test_the_next_run_needs_no_batch_job(workflow: Workflow, slurm: SlurmCluster) -> None:
    workflow.write(SNAKEFILE.replace("SECONDS", "0.1"))
    assert workflow.run(*KEEP) == 0, workflow.output[-3000:]
    jobs = {job.job_id for job in slurm.jobs()}
    assert jobs
    assert workflow.run(*KEEP, "--forceall") == 0, workflow.output[-3000:]
    assert "an earlier run has left its pilots; they are used" in workflow.output
    assert {job.job_id for job in slurm.jobs()} == jobs
    begin = workflow.journal("run_started")[0]["t"]
    first = min(event["started_at"] for event in workflow.journal("job_ended"))
    print(f"the first job starts {first - begin:.2f} s after its run")
    assert daskjq(workflow, "stop").returncode == 0
    assert slurm.leftovers() == []
    assert workflow.leftovers() == []


def test_a_killed_snakemakes_jobs_are_taken_over(workflow: Workflow, slurm: SlurmCluster) -> None:
    workflow.write(SNAKEFILE.replace("SECONDS", "2"))
    process = workflow.start(*KEEP)
    workflow.wait_until(lambda: len(list(workflow.folder.glob("marks-*"))) >= 3, 120)
    process.kill()
    process.wait(10)
    assert workflow.run("--unlock") == 0
    assert workflow.run(*KEEP) == 0, workflow.output[-3000:]
    marks = [workflow.read(f"marks-{i}") for i in range(12)]
    assert marks == ["begun\n"] * 12
    assert daskjq(workflow, "stop").returncode == 0
    assert slurm.leftovers() == []
    assert workflow.leftovers() == []
