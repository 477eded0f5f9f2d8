"""Pilots that are kept after a run (`--daskjq-keep`): used by the next, or ended by themselves."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys

import psutil

from ..workflow import PILOT, Workflow

SNAKEFILE = """
    rule all:
        input: expand("{i}.txt", i=range(6))
    rule one:
        output: "{i}.txt"
        shell: "echo {wildcards.i} > {output}"
"""
KEEP = ("--jobs", "unlimited", "--daskjq-cores", "2", "--daskjq-keep")


def daskjq(workflow: Workflow, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake_executor_daskjq.cli", *arguments]
    return subprocess.run(
        command, cwd=workflow.folder, env=workflow.env, capture_output=True, text=True, check=False, timeout=150
    )


def commands(workflow: Workflow) -> list[str]:
    found = []
    for process in workflow.processes():
        with contextlib.suppress(psutil.Error):
            found.append(" ".join(process.cmdline()))
    return found


def pilots_of(workflow: Workflow) -> set[int]:
    return {process.pid for process in workflow.started_as(PILOT)}


def test_the_next_run_has_the_pilots_of_the_last_and_stop_ends_them(workflow: Workflow) -> None:
    workflow.write(SNAKEFILE)
    assert workflow.run(*KEEP, "5m") == 0, workflow.output[-3000:]
    assert "pilots are kept for 5m; 'daskjq stop' ends them" in workflow.output
    kept = pilots_of(workflow)
    assert len(kept) == 1
    assert workflow.run(*KEEP, "5m", "--forceall") == 0, workflow.output[-3000:]
    assert "an earlier run has left its pilots; they are used" in workflow.output
    assert pilots_of(workflow) == kept
    first, second = (folder / "journal.jsonl" for folder in workflow.run_folders)
    assert first.read_text().count('"run_ended"') == second.read_text().count('"run_ended"') == 1
    assert second.read_text().count('"job_reported"') == 6
    assert "6 jobs succeeded" in workflow.output
    report = daskjq(workflow, "report").stdout.splitlines()
    assert [line.split()[:2] for line in report] == [["rule", "jobs"], ["one", "6"]]
    stopped = daskjq(workflow, "stop")
    assert (stopped.returncode, stopped.stdout.count("has ended, and all its pilots.")) == (0, 1), stopped.stderr
    assert workflow.leftovers() == []
    assert not list(workflow.folder.glob(".snakemake/daskjq/runs/*/controller.sock"))
    assert not list(workflow.folder.glob(".snakemake/daskjq/runs/*/tls/key.pem"))
    assert "No controller is kept in" in daskjq(workflow, "stop").stderr


def test_all_ends_by_itself_when_the_time_is_over(workflow: Workflow) -> None:
    workflow.write(SNAKEFILE)
    assert workflow.run(*KEEP, "3s") == 0, workflow.output[-3000:]
    assert pilots_of(workflow)
    workflow.wait_until(lambda: not workflow.processes(), 60)
    assert not list(workflow.folder.glob(".snakemake/daskjq/runs/*/controller.sock"))


def test_a_run_that_keeps_nothing_ends_what_it_was_left(workflow: Workflow) -> None:
    workflow.write(SNAKEFILE)
    assert workflow.run(*KEEP, "5m") == 0
    assert workflow.run("--jobs", "unlimited", "--daskjq-cores", "2", "--forceall") == 0, workflow.output[-3000:]
    assert "an earlier run has left its pilots" in workflow.output
    workflow.wait_until(lambda: not workflow.processes(), 60)


def test_a_run_that_asks_for_others_has_its_own_and_says_why(workflow: Workflow) -> None:
    workflow.write(SNAKEFILE)
    assert workflow.run(*KEEP, "5m") == 0
    kept = pilots_of(workflow)
    assert workflow.run("--jobs", "unlimited", "--daskjq-cores", "1", "--forceall") == 0
    assert "are not used, for this run asks for others (what describes its pilots)" in workflow.output
    assert pilots_of(workflow) == kept
    workflow.env["PATH"] += ":/nowhere"
    assert workflow.run(*KEEP, "0", "--forceall") == 0
    assert "for this run asks for others (the variable PATH)" in workflow.output
    assert daskjq(workflow, "stop").returncode == 0
    assert workflow.leftovers() == []


LONG = """
    rule all:
        input: expand("{i}.txt", i=range(4))
    rule one:
        output: "{i}.txt"
        shell: "touch begun-{wildcards.i}; sleep 300; touch {output}"
"""


STUBBORN = LONG.replace("sleep 300; touch", "trap '' TERM; while :; do sleep 1; done; touch")


def test_a_second_ctrl_c_ends_all(workflow: Workflow) -> None:
    workflow.write(STUBBORN)
    process = workflow.start(*KEEP, "5m")
    workflow.wait_until(lambda: len(list(workflow.folder.glob("begun-*"))) == 2)
    process.send_signal(signal.SIGINT)
    workflow.wait_until(lambda: "jobs; pilots are kept" in workflow.output)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) != 0
    assert "ending jobs, and now all pilots, too" in workflow.output
    assert workflow.leftovers(timeout=0) == []


def test_ctrl_c_ends_jobs_and_keeps_pilots(workflow: Workflow) -> None:
    workflow.write(LONG)
    process = workflow.start(*KEEP, "5m")
    workflow.wait_until(lambda: len(list(workflow.folder.glob("begun-*"))) == 2)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) != 0
    assert "jobs; pilots are kept, and end at a second Ctrl-C" in workflow.output
    kept = pilots_of(workflow)
    assert len(kept) == 1
    assert not [line for line in commands(workflow) if "sleep" in line]
    workflow.write(SNAKEFILE)
    assert workflow.run(*KEEP, "5m") == 0, workflow.output[-3000:]
    assert pilots_of(workflow) == kept
    assert daskjq(workflow, "stop").returncode == 0
    assert workflow.leftovers() == []


def test_two_runs_share_the_pilots_and_an_interrupt_is_one_runs_affair(workflow: Workflow) -> None:
    workflow.write(SNAKEFILE)
    assert workflow.run(*KEEP, "5m") == 0
    kept = pilots_of(workflow)
    workflow.write(LONG.replace("range(4)", "range(1)").replace("{i}.txt", "{i}.long"))
    first = workflow.start(*KEEP, "5m", "--nolock")
    workflow.wait_for("begun-0")
    workflow.write(SNAKEFILE.replace("{i}.txt", "{i}.two"), "Other")
    output = workflow.output
    assert workflow.run(*KEEP, "5m", "--nolock", "--snakefile", "Other") == 0, workflow.output[-3000:]
    assert "6 jobs succeeded" in workflow.output
    assert (pilots_of(workflow), first.poll()) == (kept, None), output
    assert any("sleep 300" in line for line in commands(workflow))
    first.send_signal(signal.SIGINT)
    assert first.wait(60) != 0
    assert not any("sleep 300" in line for line in commands(workflow))
    assert pilots_of(workflow) == kept
    assert daskjq(workflow, "stop").returncode == 0
    assert workflow.leftovers() == []
