"""A Snakemake that was killed, and the same command again: no job runs twice, and none is lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time

import pytest

from ..workflow import Workflow
from .test_keep import KEEP, commands, daskjq, pilots_of

SNAKEFILE = """
    rule all:
        input: expand("{i}.txt", i=range(8))
    rule one:
        output: "{i}.txt"
        shell: "echo begun >> marks-{wildcards.i}; touch {output}; sleep SECONDS; echo {wildcards.i} >> {output}"
"""


def begun(workflow: Workflow) -> dict[str, int]:
    return {path.name: path.read_text().count("begun") for path in workflow.folder.glob("marks-*")}


def killed_at_work(workflow: Workflow, seconds: float) -> None:
    """Kill Snakemake when two jobs have ended, where they do, and two others run."""
    workflow.write(SNAKEFILE.replace("SECONDS", str(seconds)))
    process = workflow.start(*KEEP, "5m")
    workflow.wait_until(lambda: len(begun(workflow)) == (4 if seconds < 300 else 2))
    killed(process)


def killed(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait(10)


def taken_over(workflow: Workflow) -> int:
    """How many jobs of earlier runs the last one has taken over while they ran."""
    earlier = [folder / "journal.jsonl" for folder in workflow.run_folders[:-1]]
    return sum(path.read_text().count('"job_taken_over"') for path in earlier)


def test_what_has_ended_meanwhile_is_not_run_again(workflow: Workflow) -> None:
    killed_at_work(workflow, 2)
    workflow.wait_until(lambda: not any("sleep" in line for line in commands(workflow)), 30)
    assert len(begun(workflow)) == 4
    assert workflow.run("--unlock") == 0
    assert workflow.run(*KEEP, "5m") == 0, workflow.output[-3000:]
    assert begun(workflow) == {f"marks-{i}": 1 for i in range(8)}
    assert daskjq(workflow, "stop").returncode == 0


def test_jobs_that_have_changed_are_ended_and_run_anew(workflow: Workflow) -> None:
    killed_at_work(workflow, 300)
    kept = pilots_of(workflow)
    assert workflow.run("--unlock") == 0
    workflow.write(SNAKEFILE.replace("SECONDS", "0"))
    assert workflow.run(*KEEP, "5m") == 0, workflow.output[-3000:]
    assert pilots_of(workflow) == kept
    assert not any("sleep 300" in line for line in commands(workflow))
    assert all((workflow.folder / f"{i}.txt").read_text() == f"{i}\n" for i in range(8))
    assert daskjq(workflow, "stop").returncode == 0


KINDS = """
    rule all:
        input: "shell.txt", "run.txt", "script.txt", "shadow.txt", "group-1.txt", "group-2.txt", "many.txt"
    rule shell:
        output: "shell.txt"
        log: "shell.log"
        benchmark: "shell.tsv"
        shell: "(echo begun >> marks-shell; until [ -e go ]; do sleep 0.1; done; touch {output}) 2> {log}"
    rule run:
        output: "run.txt"
        run: shell("echo begun >> marks-run; until [ -e go ]; do sleep 0.1; done; touch {output}")
    rule script:
        output: "script.txt"
        params: seconds=0.1
        script: "wait.py"
    rule shadow:
        output: "shadow.txt"
        shadow: "minimal"
        params: top=os.getcwd()
        shell: "echo begun >> {params.top}/marks-shadow; until [ -e {params.top}/go ]; do sleep 0.1; done; > {output}"
    rule group:
        output: "group-{i}.txt"
        group: "pair"
        shell: "echo begun >> marks-group-{wildcards.i}; until [ -e go ]; do sleep 0.1; done; touch {output}"
    rule many:
        input: expand("in/{i}", i=range(30))
        output: "many.txt"
        run: shell("echo begun >> marks-many; until [ -e go ]; do sleep 0.1; done; touch {output}")
    rule parts:
        output: temp(expand("in/{i}", i=range(30)))
        shell: "touch {output}"
    rule nothing:
        shell: "echo begun >> marks-nothing; until [ -e go ]; do sleep 0.1; done"
"""
WAIT = """
import os, time
with open("marks-script", "a") as marks:
    marks.write("begun\\n")
while not os.path.exists("go"):
    time.sleep(snakemake.params.seconds)
open(snakemake.output[0], "w").close()
"""


def test_jobs_of_each_kind_are_taken_over(workflow: Workflow) -> None:
    workflow.write(KINDS).write(WAIT, "wait.py")
    run = ("--jobs", "unlimited", "--daskjq-cores", "9", "--daskjq-keep", "5m", "all", "nothing")
    kinds = {f"marks-{name}" for name in ("shell", "run", "script", "shadow", "group-1", "group-2", "many", "nothing")}
    process = workflow.start(*run)
    workflow.wait_until(lambda: begun(workflow).keys() == kinds, 60)
    killed(process)
    assert workflow.run("--unlock") == 0
    again = workflow.start(*run)
    workflow.wait_until(lambda: len(workflow.journal("job_submitted")) == 8)
    (workflow.folder / "go").touch()
    assert again.wait(60) == 0, workflow.output[-3000:]
    assert begun(workflow) == dict.fromkeys(kinds, 1), workflow.output[-3000:]
    assert taken_over(workflow) == 8
    assert (workflow.folder / "shell.tsv").exists()
    assert daskjq(workflow, "stop").returncode == 0
    assert workflow.leftovers() == []


def test_who_can_not_have_them_is_told_so(workflow: Workflow) -> None:
    """Also where there is another controller that has what is asked for."""
    workflow.write(SNAKEFILE.replace("SECONDS", "0"))
    assert workflow.run("--jobs", "unlimited", "--daskjq-cores", "1", "--daskjq-keep", "5m") == 0
    workflow.run("--jobs", "1", "--delete-all-output", executor="")
    for marks in workflow.folder.glob("marks-*"):
        marks.unlink()
    killed_at_work(workflow, 300)
    assert workflow.run("--unlock") == 0
    assert workflow.run("--jobs", "unlimited", "--daskjq-cores", "1", "--rerun-incomplete") != 0
    assert "are running (at most 2)" in workflow.output
    assert "it asks for other pilots (what describes its pilots)" in workflow.output
    assert "or end those jobs first with 'daskjq stop'" in workflow.output
    assert daskjq(workflow, "stop").returncode == 0
    assert workflow.leftovers() == []


CHANGED = """
    rule all:
        input: "a.txt", "b.txt"
    rule one:
        input: "{i}.in"
        output: "{i}.txt"
        shell: "echo begun >> marks-{wildcards.i}; until [ -e go ]; do sleep 0.1; done; cp {input} {output}"
"""


def test_a_job_whose_input_has_changed_runs_anew(workflow: Workflow) -> None:
    workflow.write(CHANGED)
    for name in "ab":
        (workflow.folder / f"{name}.in").write_text("old\n")
    process = workflow.start(*KEEP, "5m")
    workflow.wait_until(lambda: len(begun(workflow)) == 2)
    killed(process)
    assert workflow.run("--unlock") == 0
    (workflow.folder / "b.in").write_text("new\n")
    again = workflow.start(*KEEP, "5m")
    workflow.wait_until(lambda: begun(workflow).get("marks-b") == 2)
    (workflow.folder / "go").touch()
    assert again.wait(60) == 0, workflow.output[-3000:]
    assert [workflow.read(f"{name}.txt") for name in "ab"] == ["old\n", "new\n"]
    assert begun(workflow) == {"marks-a": 1, "marks-b": 2}
    assert daskjq(workflow, "stop").returncode == 0
    assert workflow.leftovers() == []


@pytest.mark.timeout(600)
def test_whenever_it_is_killed_each_job_runs_once(workflow: Workflow) -> None:
    seed = int(os.environ.get("DASKJQ_CHAOS_SEED", "1"))
    kills, count = int(os.environ.get("DASKJQ_CHAOS_KILLS", "4")), int(os.environ.get("DASKJQ_CHAOS_JOBS", "24"))
    chance = random.Random(seed)
    seconds = 0.5 if count < 60 else 5
    workflow.write(SNAKEFILE.replace("SECONDS", str(seconds)).replace("range(8)", f"range({count})"))
    for _ in range(kills):
        before = len(begun(workflow))
        process = workflow.start(*KEEP, "5m")
        more = chance.randint(1, 4)
        workflow.wait_until(lambda wanted=before + more: len(begun(workflow)) >= min(count, wanted), 60)  # type: ignore[misc]
        time.sleep(chance.random())  # any moment of a run is as good
        killed(process)
        assert workflow.run("--unlock") == 0
    assert workflow.run(*KEEP, "5m") == 0, workflow.output[-3000:]
    assert begun(workflow) == {f"marks-{i}": 1 for i in range(count)}, seed
    assert all((workflow.folder / f"{i}.txt").read_text() == f"{i}\n" for i in range(count))
    assert daskjq(workflow, "stop").returncode == 0
    assert workflow.leftovers() == []


def test_without_keep_nothing_is_left(workflow: Workflow) -> None:
    workflow.write(SNAKEFILE.replace("SECONDS", "300"))
    process = workflow.start("--jobs", "unlimited", "--daskjq-cores", "2")
    workflow.wait_until(lambda: len(begun(workflow)) == 2)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    workflow.wait_until(lambda: not workflow.processes(), 60)
