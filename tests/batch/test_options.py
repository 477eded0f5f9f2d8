"""Options that choose jobs, or change how Snakemake ends, on a real Slurm: many share a run, each is looked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..features.test_runs import fewest_seconds_for, most_at_a_time, ran
from ..workflow import Workflow
from .slurm import SlurmCluster

PROFILE = """
    executor: daskjq
    jobs: 9
    daskjq-system: slurm
    daskjq-interface: lo
    daskjq-cores: 1
    daskjq-memory: 2GB
    daskjq-walltime: "00:10:00"
    daskjq-max-pilots: 1
"""
"""One pilot of one core, so that jobs run one by one."""

CHOSEN = """
    onstart: shell("echo start >> hooks")
    onsuccess: shell("echo success >> hooks")
    onerror: shell("echo error >> hooks")
    rule c:
        input: "b", "low", "middle", "high"
        output: "c"
        shell: "touch {output}"
    rule b:
        input: "a"
        output: "b"
        shell: "cat {input} > {output}"
    rule a:
        output: temp("a")
        shell: "echo a > {output}"
    rule low:
        output: touch("low")
        shell: "true"
    rule high:
        output: touch("high")
        priority: 100
        shell: "true"
    rule middle:
        output: "middle"
        priority: 50
        cache: True
        shell: "echo m > {output}"
"""

FAILING = """
    onerror: shell("echo error >> hooks")
    rule all:
        input: "bad", "empty", "good", "more/1", "more/2", "z"
    rule good:
        output: "good"
        shell: "touch {output}"
    rule more:
        output: "more/{i}"
        shell: "touch {output}; while [ ! -e go ]; do sleep 0.05; done"
    rule last:
        output: "z"
        shell: "touch {output}"
    rule bad:
        output: "bad"
        shell: "echo part > {output}; test -e go"
    rule empty:
        output: ensure("empty", non_empty=True)
        shell: "if [ -e go ]; then echo full > {output}; else touch {output}; fi"
"""


def feature(name: str, cell: str = "yes") -> pytest.MarkDecorator:
    return pytest.mark.feature(name, system="slurm", cell=cell)


def made(tmp_path_factory: pytest.TempPathFactory, slurm: SlurmCluster, name: str) -> Workflow:
    return Workflow(tmp_path_factory.mktemp(name), env=slurm.env).write(PROFILE, "profile/config.yaml")


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory, slurm: SlurmCluster) -> Iterator[Workflow]:
    """A run that makes all but `c`, in which options and profiles have something to say at every point."""
    workflow = made(tmp_path_factory, slurm, "chosen").write(CHOSEN, "code/workflow/Snakefile")
    workflow.write("default-resources:\n  - mem_mb=77\n", "workflow-profile/config.yaml")
    (workflow.folder / "cache").mkdir()
    workflow.env["SNAKEMAKE_OUTPUT_CACHE"] = str(workflow.folder / "cache")
    status = workflow.run(
        *("--profile", "profile", "--workflow-profile", "workflow-profile"),
        *("--snakefile", "code/workflow/Snakefile", "--directory", "there"),
        *("--until", "b", "low", "middle", "high", "--notemp", "--cache", "middle"),
        *("--jobs", "2", "--max-jobs-per-timespan", "2/1s"),
        *("--scheduler", "ilp", "--precommand", "echo pre >> pre.txt", "--quiet", "rules"),
        executor="",
    )
    assert status == 0, workflow.output[-3000:]
    workflow.write(workflow.output, "first.txt")  # other tests run it again
    yield workflow
    assert workflow.leftovers() == []


@pytest.fixture(scope="module")
def there(chosen: Workflow) -> Workflow:
    """The working directory of that run."""
    inside = Workflow(chosen.folder / "there", env=chosen.env)
    inside.mark = chosen.mark
    return inside


@feature("onstart, onsuccess")
def test_hooks(there: Workflow) -> None:
    assert there.read("hooks") == "start\nsuccess\n"


@feature("--until")
def test_until(there: Workflow) -> None:
    assert sorted(ran(there)) == ["a", "b", "high", "low", "middle"]


@feature("--notemp")
def test_notemp(there: Workflow) -> None:
    assert there.read("a") == "a\n"


@feature("--scheduler ilp")
def test_jobs_that_the_solver_selects(there: Workflow) -> None:
    assert {event["success"] for event in there.journal("job_reported")} == {True}


@feature("--precommand")
def test_precommand(there: Workflow) -> None:
    assert there.read("pre.txt") == "pre\n" * 5


@feature("--quiet")
def test_quiet(chosen: Workflow) -> None:
    assert "rule b:" not in chosen.read("first.txt")
    assert "Finished jobid" in chosen.read("first.txt")


@feature("--directory, --snakefile")
def test_directory(chosen: Workflow, there: Workflow) -> None:
    assert there.read("b") == "a\n"
    assert not (chosen.folder / "b").exists()


@feature("profiles: --profile, --workflow-profile")
def test_profiles(there: Workflow, slurm: SlurmCluster) -> None:
    (pilot,) = there.journal("pilot_submitted")
    (job,) = [job for job in slurm.jobs() if job.job_id == pilot["batch_id"]]
    assert (job.cpus, job.time_limit) == (1, "00:10:00")
    assert {event["amounts"]["mem_mb"] for event in there.journal("job_submitted")} == {77}


@feature("--jobs")
def test_jobs(there: Workflow) -> None:
    assert most_at_a_time(there) == 2


@feature("--max-jobs-per-timespan")
def test_max_jobs_per_timespan(there: Workflow) -> None:
    assert fewest_seconds_for(2, there) > 0.9


@feature("priority")
def test_priority(there: Workflow) -> None:
    placed = [event["key"].partition("-")[0] for event in there.journal("job_placed")]
    assert [rule for rule in placed if rule in ("low", "middle", "high")] == ["high", "middle", "low"]


@feature("cache")
def test_cache(chosen: Workflow) -> None:
    assert list((chosen.folder / "cache").iterdir())


@feature("--forcerun; --touch; --dry-run")
def test_what_runs_no_job_asks_slurm_for_nothing(chosen: Workflow, there: Workflow, slurm: SlurmCluster) -> None:
    before = len(slurm.jobs())
    arguments = ["--profile", "profile", "--snakefile", "code/workflow/Snakefile", "--directory", "there", "b"]
    assert chosen.run(*arguments, "--forcerun", "a", "--dry-run", executor="") == 0
    assert "rule a:" in chosen.output
    assert chosen.run(*arguments, "--forcerun", "a", "--touch", executor="") == 0
    assert len(there.run_folders) == 1
    assert len(slurm.jobs()) == before


@feature("--immediate-submit", cell="refused")
def test_immediate_submit(chosen: Workflow, slurm: SlurmCluster) -> None:
    before = len(slurm.jobs())
    arguments = ["--profile", "profile", "--snakefile", "code/workflow/Snakefile", "--directory", "refused"]
    assert chosen.run(*arguments, "--immediate-submit", "--notemp", executor="") == 1
    assert "daskjq can't work with --immediate-submit" in chosen.output
    assert len(slurm.jobs()) == before


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory, slurm: SlurmCluster) -> Iterator[Workflow]:
    """A run of which some jobs fail."""
    workflow = made(tmp_path_factory, slurm, "failing").write(FAILING)
    workflow.write("", "x.sh")
    options = [
        "--keep-going",
        "--keep-incomplete",
        "--batch",
        "all=1/2",
        "--jobscript",
        "x.sh",
        "--jobname",
        "x.{jobid}",
    ]
    assert workflow.run("--profile", "profile", *options, executor="") == 1
    workflow.write(workflow.output, "first.txt")
    yield workflow
    assert workflow.leftovers() == []


@feature("onerror; --keep-going; --keep-incomplete; ensure that fails")
def test_failures(failing: Workflow) -> None:
    assert failing.read("hooks") == "error\n"
    assert failing.read("bad") == "part\n"
    assert (failing.folder / "good").exists()
    for words in ("exit status 1", "unexpected empty output"):
        assert words in failing.read("first.txt")


@feature("--batch")
def test_batch(failing: Workflow) -> None:
    assert sorted(ran(failing)) == ["bad", "empty", "good"]


@feature("--jobname, --jobscript", cell="no effect")
def test_jobscript(failing: Workflow) -> None:
    assert "--jobscript has no effect" in failing.read("first.txt")


@feature("--rerun-incomplete")
@feature("--omit-from")
def test_the_rest_with_what_is_incomplete(failing: Workflow) -> None:
    process = failing.start("--cores", "1", "more/1", executor="")
    failing.wait_for("more/1")
    failing.crash()
    process.wait()
    arguments = ["--profile", "profile", "--nolock", "--omit-from", "z"]
    assert failing.run(*arguments, executor="") == 1
    assert "--rerun-incomplete" in failing.output
    (failing.folder / "go").touch()
    assert failing.run(*arguments, "--rerun-incomplete", executor="") == 0, failing.output[-3000:]
    assert sorted(ran(failing)) == ["more", "more"]
    assert not (failing.folder / "z").exists()
