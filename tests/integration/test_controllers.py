"""Controllers with a name: started before runs, used by several at a time, ended by `daskjq stop` or Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..workflow import CONTROLLER, PILOT, Workflow
from .test_keep import daskjq, pilots_of

SHORT = """
    rule all:
        input: expand("{i}.txt", i=range(30))
    rule one:
        output: "{i}.txt"
        shell: "sleep 0.5; pwd > {output}"
"""
WIDE = """
    rule all:
        input: expand("{i}.txt", i=range(12))
    rule one:
        output: "{i}.txt"
        threads: 2
        shell: "sleep 1; pwd > {output}"
"""
HELD = """
    rule all:
        input: "a.txt"
    rule one:
        output: "a.txt"
        shell: "echo begun >> marks; until [ -e go ]; do sleep 0.1; done; touch {output}"
"""
USE = ("--jobs", "unlimited", "--daskjq-controller", "lab")


def beside(workflow: Workflow, name: str) -> Workflow:
    """A workflow in another folder, of the same user in the same shell."""
    other = Workflow(workflow.folder / name)
    other.folder.mkdir()
    other.mark, other.env = workflow.mark, workflow.env
    return other


@pytest.fixture
def lab(workflow: Workflow) -> Iterator[Workflow]:
    """The folder in which a controller named lab is started, of six cores."""
    workflow.env["XDG_STATE_HOME"] = str(workflow.folder / "state")
    lab = beside(workflow, "lab")
    process = started(lab, "lab", "--daskjq-cores", "6")
    yield lab
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, lab.output
    assert workflow.leftovers() == []
    assert not list(workflow.folder.glob("state/daskjq/lab/runs/*/controller.*[!g]"))
    assert not list(workflow.folder.glob("state/daskjq/lab/runs/*/tls/*"))


def started(lab: Workflow, *arguments: str) -> subprocess.Popen[str]:
    process = lab.start_command(sys.executable, "-m", "snakemake_executor_daskjq.cli", "start", *arguments)
    lab.wait_until(lambda: "uses it, Ctrl-C ends it" in lab.output)
    return process


def spans(workflow: Workflow, cores: int) -> list[tuple[float, float, int]]:
    """When each job was on a pilot, and the cores that it held."""
    placed = {event["key"]: event["t"] for event in workflow.journal("job_placed")}
    return [(placed[event["key"]], event["t"], cores) for event in workflow.journal("job_ended")]


def core_seconds(of: list[tuple[float, float, int]], since: float, until: float) -> float:
    return sum(cores * max(0.0, min(end, until) - max(begin, since)) for begin, end, cores in of)


def test_runs_from_two_folders_share_the_cores_fairly(lab: Workflow) -> None:
    one, two = beside(lab, "one").write(SHORT), beside(lab, "two").write(WIDE)
    processes = [one.start(*USE), two.start(*USE)]
    lab.wait_until(lambda: all(run.run_folders and run.journal("job_placed") for run in (one, two)))
    shown = daskjq(lab, "status", "lab").stdout.splitlines()
    assert [line.split()[0] for line in shown[1:]] == [
        *("pilot", "local-1", "run"),
        *(run.run_folders[-1].name for run in sorted((one, two), key=lambda run: began(run))),
    ]
    for run, process in zip((one, two), processes, strict=True):
        assert process.wait(60) == 0, run.output
        assert run.read("3.txt") == f"{run.folder}\n"
        assert "the pilots of controller lab are used" in run.output
    held = spans(one, 1), spans(two, 2)
    since = max(min(begin for begin, _, _ in of) for of in held)
    until = min(max(begin for begin, _, _ in of) for of in held)  # then one of them has none that wait
    assert until - since > 2
    shares = [core_seconds(of, since, until) for of in held]
    assert shares[0] == pytest.approx(sum(shares) / 2, rel=0.2), shares


def began(run: Workflow) -> Any:
    return run.journal("run_started")[0]["t"]


def test_an_interrupt_of_one_run_leaves_the_other_alone(lab: Workflow) -> None:
    one, two = beside(lab, "one").write(HELD), beside(lab, "two").write(HELD)
    processes = [one.start(*USE), two.start(*USE)]
    lab.wait_until(lambda: all((run.folder / "marks").exists() for run in (one, two)))
    pilots = pilots_of(lab)
    processes[0].send_signal(signal.SIGINT)
    assert processes[0].wait(30) != 0
    assert "ending 1 jobs." in one.output
    assert (processes[1].poll(), pilots_of(lab)) == (None, pilots)
    (two.folder / "go").touch()
    assert processes[1].wait(30) == 0, two.output
    assert two.read("marks") == "begun\n"


def test_a_killed_snakemake_finds_its_job_there_again(lab: Workflow) -> None:
    one = beside(lab, "one").write(HELD)
    keep = (*USE, "--daskjq-keep", "5m")
    process = one.start(*keep)
    one.wait_for("marks")
    process.kill()
    process.wait(10)
    assert one.run("--unlock") == 0
    again = one.start(*keep)
    one.wait_until(lambda: one.journal("job_submitted"))
    (one.folder / "go").touch()
    assert again.wait(30) == 0, one.output
    assert one.read("marks") == "begun\n"


def test_without_keep_a_killed_snakemakes_jobs_end(lab: Workflow) -> None:
    one = beside(lab, "one").write(HELD)
    process = one.start(*USE)
    one.wait_for("marks")
    pilots = pilots_of(lab)
    process.kill()
    process.wait(10)
    one.wait_until(lambda: one.journal("run_ended"))
    assert pilots_of(lab) == pilots
    assert not [one for one in lab.processes() if "until [ -e go ]" in " ".join(one.cmdline())]


ALIKE = """
    rule notify:
        shell: "echo begun >> marks; until [ -e go ]; do sleep 0.1; done"
"""


def test_like_named_rules_of_two_workflows_are_not_taken_for_the_same(lab: Workflow) -> None:
    one, two = beside(lab, "one").write(ALIKE), beside(lab, "two").write(ALIKE)
    process = one.start(*USE, "--daskjq-keep", "5m", "notify")
    one.wait_for("marks")
    process.kill()
    process.wait(10)
    one.wait_until(lambda: list(one.folder.glob(".snakemake/daskjq/runs/*/left.json")))
    assert one.run("--unlock") == 0
    assert "use it (--daskjq-controller lab)" in refused(one, "--jobs", "1", "notify")
    (two.folder / "go").touch()
    assert two.run(*USE, "notify") == 0, two.output
    again = one.start(*USE, "--daskjq-keep", "5m", "notify")
    one.wait_until(lambda: one.journal("job_submitted"))
    (one.folder / "go").touch()
    assert again.wait(30) == 0, one.output
    assert (one.read("marks"), two.read("marks")) == ("begun\n", "begun\n")
    assert not list(one.folder.glob(".snakemake/daskjq/runs/*/left.json"))


def test_ctrl_c_where_it_was_started_ends_it_with_its_runs(workflow: Workflow) -> None:
    workflow.env["XDG_STATE_HOME"] = str(workflow.folder / "state")
    process = started(beside(workflow, "lab"), "lab", "--daskjq-cores", "2")
    one = beside(workflow, "one").write(HELD)
    run = one.start(*USE)
    one.wait_for("marks")
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    assert workflow.started_as(CONTROLLER) == workflow.started_as(PILOT) == []
    assert run.wait(30) != 0
    assert "'daskjq start', which had started the controller, has ended it" in one.output


def test_stop_ends_it_with_its_runs(lab: Workflow) -> None:
    one = beside(lab, "one").write(HELD)
    process = one.start(*USE)
    one.wait_for("marks")
    stopped = daskjq(lab, "stop", "lab")
    assert (stopped.returncode, stopped.stderr) == (0, "")
    assert process.wait(30) != 0
    assert "were ended by 'daskjq stop'" in one.output
    assert "Traceback" not in one.output
    lab.wait_until(lambda: not lab.started_as(PILOT))
    assert daskjq(lab, "status", "lab").stdout == "There is no controller lab.\n"
    assert "no controller lab runs" in refused(one, *USE)


def refused(workflow: Workflow, *arguments: str) -> str:
    assert workflow.run(*arguments) != 0
    assert "Traceback" not in workflow.output
    return workflow.output


def test_what_can_not_be_is_told(lab: Workflow) -> None:
    one = beside(lab, "one").write(HELD)
    assert "no controller moon runs. There are: lab." in refused(one, "--jobs", "1", "--daskjq-controller", "moon")
    assert "asks for others than that controller has (what describes its pilots)" in refused(
        one, *USE, "--daskjq-cores", "2"
    )
    assert "found '../lab', allowed is a name" in refused(one, "--jobs", "1", "--daskjq-controller", "../lab")
    again = daskjq(lab, "start", "lab")
    assert (again.returncode, again.stderr) == (
        1,
        "daskjq: A controller lab runs already on this host: 'daskjq status lab' shows it.\n",
    )
    wrong = daskjq(lab, "start", "moon", "--daskjq-system", "moon")
    assert (wrong.returncode, "--daskjq-system: found 'moon'" in wrong.stderr) == (1, True), wrong.stderr


def test_the_options_may_stand_in_one_profile(workflow: Workflow) -> None:
    workflow.env["XDG_STATE_HOME"] = str(workflow.folder / "state")
    profile = workflow.folder / "profile"
    profile.mkdir()
    (profile / "config.yaml").write_text("executor: daskjq\njobs: unlimited\ndaskjq-cores: 2\ndaskjq-max-pilots: 1\n")
    process = started(lab := beside(workflow, "lab"), "lab", "--profile", str(profile))
    one = beside(workflow, "one").write(SHORT.replace("range(30)", "range(3)"))
    arguments = ("--profile", str(profile), "--daskjq-controller", "lab")
    assert one.run(*arguments) == 0, one.output
    process.kill()  # nothing is to be kept
    process.wait(10)
    lab.wait_until(lambda: not workflow.processes(), 60)
    assert not list(Path(workflow.env["XDG_STATE_HOME"]).glob("daskjq/lab/runs/*/tls/*"))
