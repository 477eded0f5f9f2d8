"""Whole workflows on a real Slurm with four virtual nodes and two partitions."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from ..snakefiles import HELD, MANY, SLOW
from ..workflow import CONTROLLER, Workflow
from .slurm import SlurmCluster, SlurmJob


@pytest.fixture
def jobs_before(slurm: SlurmCluster) -> set[str]:
    return {job.job_id for job in slurm.jobs()}


def new_jobs(slurm: SlurmCluster, before: set[str]) -> list[SlurmJob]:
    return [job for job in slurm.jobs() if job.job_id not in before]


def test_200_jobs_share_few_pilots(workflow: Workflow, slurm: SlurmCluster, jobs_before: set[str]) -> None:
    workflow.write(MANY)
    assert workflow.run("--jobs", "200", "--config", "count=200", timeout=600) == 0
    assert [workflow.read(f"out/{i}.txt") for i in range(200)] == [f"{i}\n" for i in range(200)]
    pilots = new_jobs(slurm, jobs_before)
    assert 1 <= len(pilots) <= 8
    assert {(job.name, job.partition, job.cpus, job.memory, job.time_limit) for job in pilots} == {
        ("daskjq", "main", 4, "3G", "00:10:00")
    }
    assert len(workflow.journal("pilot_submitted")) == len(pilots)
    assert len(workflow.journal("job_reported")) == 200


def test_partition_account_directives_and_prologue_reach_slurm(
    workflow: Workflow, slurm: SlurmCluster, jobs_before: set[str]
) -> None:
    workflow.write("""
        rule a:
            output: "x"
            shell: "echo $FROM_PROLOGUE > {output}"
    """)
    options = ["--daskjq-queue", "short", "--daskjq-walltime", "3m", "--daskjq-account", "lab"]
    options += ["--daskjq-directives=--comment=hello", "--daskjq-prologue", "export FROM_PROLOGUE='it is set'"]
    assert workflow.run("--jobs", "1", *options) == 0
    assert workflow.read("x") == "it is set\n"
    (job,) = new_jobs(slurm, jobs_before)
    assert (job.partition, job.time_limit) == ("short", "00:03:00")
    record = slurm.run("scontrol", "--oneliner", "show", "job", job.job_id)
    assert "Account=lab" in record
    assert "Comment=hello" in record


@pytest.mark.parametrize("level", ["direct", "workflow"])
def test_a_job_with_many_inputs_waits_for_them_all(workflow: Workflow, level: str) -> None:
    workflow.env["SNAKEMAKE_DASKJQ_WARM_START"] = level
    workflow.write("""
        rule all:
            input: "sum"
        rule gather:
            input: expand("out/{i}.txt", i=range(40))
            output: "sum"
            shell: "cat {input} | wc -l > {output}"
        rule a:
            output: "out/{i}.txt"
            group: "pieces"
            shell: "echo {wildcards.i} > {output}"
    """)
    assert workflow.run("--jobs", "100", "--cores", "4", "--group-components", "pieces=10") == 0, workflow.output[
        -2000:
    ]
    assert workflow.read("sum") == "40\n"
    listings = list(workflow.run_folders[-1].glob("logs/gather/*.wait"))
    assert len(listings) == (level == "workflow")  # a command line has a limit; a frame has room for them


def test_several_pilots_work_at_a_time(workflow: Workflow) -> None:
    workflow.write("""
        rule all:
            input: expand("{i}.txt", i=range(12))
        rule slow:
            output: "{i}.txt"
            resources: runtime=9
            shell: "touch up{wildcards.i}; while [ $(ls up* | wc -l) -lt 12 ]; do sleep 0.1; done; touch {output}"
    """)
    assert workflow.run("--jobs", "12") == 0
    placed = workflow.journal("job_placed")
    assert len({event["pilot"] for event in placed}) == 3
    spans = [(event["started_at"], event["ended_at"]) for event in workflow.journal("job_ended")]
    assert max(start for start, _ in spans) < min(end for _, end in spans)  # all twelve at once


def test_a_job_as_long_as_a_pilots_walltime_runs_also_when_pilots_have_run_for_a_while(workflow: Workflow) -> None:
    workflow.write("""
        rule long:
            input: "short"
            output: "long"
            resources: runtime=3
            shell: "touch {output}"
        rule short:
            output: "short"
            resources: runtime=1
            shell: "sleep 61; touch {output}"
    """)
    assert workflow.run("--jobs", "2", "--daskjq-walltime", "3m", timeout=150) == 0
    assert len({event["pilot"] for event in workflow.journal("job_placed")}) == 2


def test_idle_pilots_end_while_the_workflow_goes_on(workflow: Workflow, slurm: SlurmCluster) -> None:
    workflow.write("""
        localrules: wait
        rule wait:
            input: "a"
            output: "b"
            shell: "while [ ! -e go ]; do sleep 0.1; done; touch {output}"
        rule a:
            output: "a"
            shell: "touch {output}"
    """)
    process = workflow.start("--jobs", "2", "--daskjq-idle-timeout", "5s")
    workflow.wait_for("a")
    assert slurm.queued_or_running() != []
    workflow.wait_until(lambda: slurm.queued_or_running() == [])
    (workflow.folder / "go").touch()
    assert process.wait(30) == 0
    assert [event["why"] for event in workflow.journal("pilot_ended")] == ["no more work"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--daskjq-queue", "nosuch"], "invalid partition specified: nosuch"),
        (["--daskjq-memory", "999GB"], "Memory specification can not be satisfied"),
        (["--daskjq-directives=--bogus"], "unrecognized option '--bogus'"),
    ],
)
def test_what_slurm_refuses_is_told_in_its_own_words_and_ends_the_run(
    workflow: Workflow, slurm: SlurmCluster, jobs_before: set[str], options: list[str], words: str
) -> None:
    workflow.write(MANY)
    assert workflow.run("--jobs", "1", *options, timeout=60) == 1
    assert f"could not be started: sbatch: {'' if 'bogus' in words else 'error: '}{words}" in workflow.output
    assert "daskjq: No pilot of pool" in workflow.output
    assert "Traceback" not in workflow.output
    assert not [job for job in new_jobs(slurm, jobs_before) if job.state != "FAILED"]


def test_a_pilot_that_dies_at_its_start_is_told_with_its_last_words(workflow: Workflow) -> None:
    workflow.write(MANY)
    options = ["--daskjq-prologue", "echo no module named gcc >&2; exit 3"]
    process = workflow.start("--jobs", "1", *options)
    workflow.wait_until(lambda: "could not be started" in workflow.output)
    assert "no module named gcc" in workflow.output
    assert "Next try in 1 s" in workflow.output
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 1


def test_a_submit_command_that_fails_for_a_while_is_tried_again(workflow: Workflow) -> None:
    """A fake sbatch in front of the real one: slurmctld's own time-outs take minutes to provoke."""
    workflow.write(MANY)
    workflow.write(
        """\
        #!/bin/sh
        echo x >> calls
        if [ $(wc -l < calls) -lt 3 ]; then
            echo "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation" >&2; exit 1
        fi
        PATH=${PATH#*:} exec sbatch "$@"
        """,
        "bin/sbatch",
    )
    (workflow.folder / "bin" / "sbatch").chmod(0o755)
    workflow.env["PATH"] = f"{workflow.folder / 'bin'}:{workflow.env['PATH']}"
    assert workflow.run("--jobs", "4") == 0
    assert "Socket timed out on send/recv operation. Next try in 1 s." in workflow.output
    failed: list[dict[str, Any]] = workflow.journal("pilot_failed")
    assert [round(event["retry_in_s"]) for event in failed] == [1, 2]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_cancels_running_and_queued_batch_jobs(
    workflow: Workflow, slurm: SlurmCluster, jobs_before: set[str], signum: signal.Signals
) -> None:
    workflow.write(SLOW)
    # Pilots of one and a half nodes' memory leave some of them in the queue.
    process = workflow.start("--jobs", "9", "--config", "count=9", "--daskjq-cores", "1", "--daskjq-memory", "3GB")
    workflow.wait_until(lambda: list(workflow.folder.glob("pid*")))
    assert len(new_jobs(slurm, jobs_before)) >= 1
    process.send_signal(signum)
    assert process.wait(20) == 1
    workflow.wait_until(lambda: slurm.queued_or_running() == [], timeout=15)
    assert workflow.leftovers(timeout=5) == []


def test_when_snakemake_is_killed_pilots_and_their_jobs_end(workflow: Workflow, slurm: SlurmCluster) -> None:
    workflow.write(SLOW)
    process = workflow.start("--jobs", "4")
    workflow.wait_until(lambda: list(workflow.folder.glob("pid*")))
    process.kill()
    process.wait()
    workflow.wait_until(lambda: slurm.queued_or_running() == [], timeout=15)
    assert workflow.leftovers(timeout=15) == []


def test_a_pilot_that_is_held_is_told_and_used_once_released(
    workflow: Workflow, slurm: SlurmCluster, jobs_before: set[str]
) -> None:
    workflow.write(MANY)
    process = workflow.start("--jobs", "6", "--daskjq-directives=--hold")
    workflow.wait_until(lambda: "is held in the queue (PENDING (JobHeldUser))" in workflow.output)
    (job,) = new_jobs(slurm, jobs_before)
    assert f"releases batch job {job.job_id}" in workflow.output
    slurm.run("scontrol", "release", job.job_id)
    assert process.wait(60) == 0
    assert workflow.output.count("is held in the queue") == 1


@pytest.mark.parametrize("killed", ["snakemake", "controller"])
def test_whichever_is_killed_no_queued_batch_job_is_left(workflow: Workflow, slurm: SlurmCluster, killed: str) -> None:
    workflow.write(MANY)
    process = workflow.start("--jobs", "6", "--daskjq-directives=--hold")
    workflow.wait_until(lambda: workflow.run_folders and workflow.journal("pilot_submitted"))
    assert [job.state for job in slurm.queued_or_running()] == ["PENDING"]
    if killed == "snakemake":
        process.kill()
        process.wait()
        workflow.wait_until(lambda: slurm.queued_or_running() == [], timeout=15)
    else:
        workflow.only(CONTROLLER).kill()
        assert process.wait(30) == 1
        assert "The controller of the run was ended by SIGKILL. Its jobs and pilots have been ended." in workflow.output
        assert slurm.queued_or_running() == []
    assert workflow.leftovers(timeout=15) == []
    assert workflow.journal()[-1]["event"] == "run_ended"
    assert workflow.journal("pilot_started") == []


def test_a_batch_job_that_starts_when_its_run_is_dead_ends_at_once(
    workflow: Workflow, slurm: SlurmCluster, jobs_before: set[str]
) -> None:
    workflow.write(MANY)
    process = workflow.start("--jobs", "6", "--daskjq-directives=--hold")
    workflow.wait_until(lambda: workflow.run_folders and workflow.journal("pilot_submitted"))
    workflow.crash()
    process.wait()
    (job,) = new_jobs(slurm, jobs_before)
    slurm.run("scontrol", "release", job.job_id)
    workflow.wait_until(lambda: slurm.queued_or_running() == [], timeout=15)
    assert workflow.journal("pilot_started") == []


def test_a_full_queue_is_told_once_and_waited_for(workflow: Workflow) -> None:
    """A fake sbatch in front of the real one: limits of users need a Slurm with accounting."""
    workflow.write(MANY)
    workflow.write(
        """\
        #!/bin/sh
        echo x >> calls
        if [ $(wc -l < calls) -lt 3 ]; then
            echo "sbatch: error: QOSMaxSubmitJobPerUserLimit" >&2; exit 1
        fi
        PATH=${PATH#*:} exec sbatch "$@"
        """,
        "bin/sbatch",
    )
    (workflow.folder / "bin" / "sbatch").chmod(0o755)
    workflow.env["PATH"] = f"{workflow.folder / 'bin'}:{workflow.env['PATH']}"
    assert workflow.run("--jobs", "4") == 0
    assert workflow.output.count("takes no more pilots of pool slurm for now: sbatch: error: QOSMaxSubmit") == 1
    assert len(workflow.journal("pilot_failed")) == 2


def test_a_pilot_that_is_cancelled_by_someone_costs_no_attempt(
    workflow: Workflow, slurm: SlurmCluster, jobs_before: set[str]
) -> None:
    workflow.write(HELD)
    process = workflow.start("--jobs", "1")
    workflow.wait_for_line("tries")
    (job,) = new_jobs(slurm, jobs_before)
    slurm.run("scancel", "--signal=KILL", "--full", job.job_id)
    workflow.wait_until(lambda: workflow.read("tries").count("\n") == 2)
    (workflow.folder / "go").touch()
    assert process.wait(60) == 0
    ends = [event["end"] for event in workflow.journal("job_ended")]
    # Which of the pilot's processes dies first is Slurm's affair: it may lose a second try before it is gone.
    assert ends in (["lost", "succeeded"], ["lost", "lost", "succeeded"])
    assert [event["attempt"] for event in workflow.journal("job_submitted")] == [1]


def test_job_scripts_and_run_folder_are_private_and_the_key_is_0600(workflow: Workflow) -> None:
    workflow.write("""
        rule a:
            output: "x"
            shell: "cd .snakemake/daskjq/runs/*/; stat -c %a . tls tls/* > $OLDPWD/{output}"
    """)
    assert workflow.run("--jobs", "1") == 0
    assert workflow.read("x").split() == ["700", "700", "600", "600", "600"]
    assert not list((workflow.run_folders[-1] / "tls").iterdir())  # removed at the end
