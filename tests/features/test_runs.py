"""What needs a run of its own: options that choose jobs or change how Snakemake ends, profiles, failures."""

from __future__ import annotations

import base64
import itertools
import signal

import pytest

from ..snakefiles import HELD, MANY
from ..workflow import Workflow

CHAIN = """
    rule c:
        input: "b"
        output: "c"
        shell: "cat {input} > {output}; echo c >> {output}"
    rule b:
        input: "a"
        output: "b"
        shell: "cat {input} > {output}; echo b >> {output}"
    rule a:
        output: temp("a")
        shell: "echo a >> a.runs; echo a > {output}"
"""

feature = pytest.mark.feature


def ran(workflow: Workflow) -> list[str]:
    """The rules whose jobs the last run handed over."""
    return [str(event["rule"]) for event in workflow.journal("job_submitted")]


@feature("onstart, onsuccess")
def test_onstart_and_onsuccess_run_once_and_not_in_jobs(workflow: Workflow) -> None:
    workflow.write(
        """
        onstart: shell("echo start >> hooks")
        onsuccess: shell("echo success >> hooks")
        onerror: shell("echo error >> hooks")
        """
        + CHAIN.replace("\n", "\n    ")
    )
    assert workflow.run() == 0
    assert workflow.read("hooks") == "start\nsuccess\n"


@feature("onerror; --keep-going; --keep-incomplete; ensure that fails")
def test_failures_leave_what_they_should(workflow: Workflow) -> None:
    workflow.write("""
        onerror: shell("echo error >> hooks")
        rule all:
            input: "good", "bad", "empty"
        rule good:
            output: "good"
            shell: "sleep 1; touch {output}"
        rule bad:
            output: "bad"
            shell: "echo part > {output}; exit 3"
        rule empty:
            output: ensure("empty", non_empty=True)
            shell: "touch {output}"
    """)
    assert workflow.run("--jobs", "9", "--keep-going", "--keep-incomplete") == 1
    assert (workflow.folder / "good").exists()
    assert workflow.read("bad") == "part\n"
    assert "exit status 3" in workflow.output
    assert "unexpected empty output" in workflow.output
    assert workflow.read("hooks") == "error\n"


@feature("--rerun-incomplete")
def test_files_of_a_killed_run_are_refused_or_made_again(workflow: Workflow) -> None:
    workflow.write(HELD.replace("while", "echo part > {output}; while"))
    process = workflow.start("--jobs", "9")
    workflow.wait_for("x")
    workflow.crash()
    process.wait()
    (workflow.folder / "go").touch()
    assert workflow.run("--jobs", "9", "--nolock") == 1
    assert "--rerun-incomplete" in workflow.output
    assert workflow.run("--jobs", "9", "--nolock", "--rerun-incomplete") == 0
    assert len(workflow.read("tries").splitlines()) == 2


@pytest.mark.parametrize(
    ("options", "rules", "files"),
    [
        pytest.param(["--until", "b"], ["a", "b"], "b", marks=feature("--until")),
        pytest.param(["--omit-from", "c"], ["a", "b"], "b", marks=feature("--omit-from")),
        pytest.param(["--notemp"], ["a", "b", "c"], "abc", marks=feature("--notemp")),
        pytest.param(["--scheduler", "ilp"], ["a", "b", "c"], "bc", marks=feature("--scheduler ilp")),
        pytest.param(["--quiet", "all"], ["a", "b", "c"], "bc", marks=feature("--quiet")),
        pytest.param(["--precommand", "echo pre >> pre.txt"], ["a", "b", "c"], "bc", marks=feature("--precommand")),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_which_jobs_run(workflow: Workflow, options: list[str], rules: list[str], files: str) -> None:
    workflow.write(CHAIN)
    assert workflow.run("--jobs", "9", *options) == 0, workflow.output
    assert ran(workflow) == rules
    assert {name for name in "abc" if (workflow.folder / name).exists()} == set(files)
    if "--quiet" in options:
        assert workflow.output == ""
    if "--precommand" in options:
        assert workflow.read("pre.txt") == "pre\n" * 3


@feature("--forcerun; --touch; --dry-run")
def test_forcerun_touch_and_dry_run(workflow: Workflow) -> None:
    workflow.write(CHAIN)
    assert workflow.run("--jobs", "9", "--dry-run") == 0
    assert not workflow.run_folders
    assert workflow.run() == 0
    assert workflow.run("--jobs", "9", "--forcerun", "c", "--touch") == 0
    assert len(workflow.run_folders) == 1
    assert workflow.run("--jobs", "9", "--forcerun", "b") == 0
    assert ran(workflow) == ["a", "b", "c"]
    assert workflow.read("c") == "a\nb\nc\n"
    assert workflow.read("a.runs") == "a\na\n"


@feature("--batch")
def test_batches(workflow: Workflow) -> None:
    workflow.write("""
        rule all:
            input: expand("{i}.txt", i=range(4))
        rule a:
            output: "{i}.txt"
            shell: "touch {output}"
    """)
    assert workflow.run("--jobs", "9", "--batch", "all=1/2") == 0
    assert len(ran(workflow)) == 2
    assert workflow.run("--jobs", "9", "--batch", "all=2/2") == 0
    assert len(ran(workflow)) == 2


@feature("--directory, --snakefile")
def test_another_working_directory_and_a_snakefile_elsewhere(workflow: Workflow) -> None:
    workflow.write(
        """
        rule a:
            output: "x"
            script: "scripts/a.py"
        """,
        "code/workflow/Snakefile",
    )
    workflow.write("open(snakemake.output[0], 'w').write('from code')", "code/workflow/scripts/a.py")
    assert workflow.run("--jobs", "9", "--snakefile", "code/workflow/Snakefile", "--directory", "there") == 0
    assert workflow.read("there/x") == "from code"


@feature("profiles: --profile, --workflow-profile")
def test_profiles_choose_the_executor(workflow: Workflow) -> None:
    workflow.write(CHAIN)
    workflow.write("executor: daskjq\njobs: 5\ndaskjq-cores: 1\n", "globally/config.yaml")
    workflow.write("default-resources:\n  - mem_mb=77\n", "profiles/default/config.yaml")
    assert workflow.run("--profile", "globally", executor="") == 0
    (started,) = workflow.journal("run_started")
    assert [pool["cores"] for pool in started["pools"].values()] == [1]
    assert {event["amounts"]["mem_mb"] for event in workflow.journal("job_submitted")} == {77}


def most_at_a_time(workflow: Workflow) -> int:
    """How many jobs the last run had handed over and not finished, at most."""
    counts = itertools.accumulate(
        1 if event["event"] == "job_submitted" else -1 for event in workflow.journal("job_submitted", "job_reported")
    )
    return max(counts)


def fewest_seconds_for(count: int, workflow: Workflow) -> float:
    """The shortest time in which the last run handed over more than `count` jobs."""
    times = [event["t"] for event in workflow.journal("job_submitted")]
    return min(late - early for early, late in zip(times, times[count:], strict=False))


@feature("--jobs")
@feature("--max-jobs-per-timespan")
def test_so_many_jobs_at_a_time_and_in_a_timespan(workflow: Workflow) -> None:
    workflow.write(MANY)
    # Snakemake counts from when it selects jobs, and the first ones then wait for the Dask scheduler.
    assert workflow.run("--jobs", "2", "--max-jobs-per-timespan", "2/6s") == 0
    assert most_at_a_time(workflow) == 2
    assert fewest_seconds_for(2, workflow) > 1.8


@feature("--scheduler daskjq")
def test_so_many_jobs_by_our_own_scheduler(workflow: Workflow) -> None:
    workflow.write(MANY)
    assert workflow.run("--jobs", "2", "--scheduler", "daskjq") == 0
    assert most_at_a_time(workflow) == 2


@feature("--jobs unlimited, without a rate")
def test_snakemakes_default_rate_is_lifted_unless_the_user_gives_it_to_us(workflow: Workflow) -> None:
    workflow.write(MANY)
    many = ("--jobs", "unlimited", "--config", "count=130")
    assert workflow.run(*many) == 0
    assert "Snakemake's default of 100 jobs a second is lifted" in workflow.output
    process = workflow.start(*many, "--forceall", "--daskjq-max-jobs-per-timespan", "5/6s")
    workflow.wait_until(lambda: "Job rate limit reached" in workflow.output)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 1
    assert "is lifted" not in workflow.output
    assert len(workflow.journal("job_submitted")) == 5


ONE_FAILS = """
rule bad:
    output: "bad"
    priority: 1
    shell: "[ -e mended ] && touch {output}"
rule a:
    output: "out/{i}"
    shell: "sleep 0.1; touch {output}"
"""
GROUPED = """
rule b:
    output: temp("half")
    group: "g"
    shell: "touch {output}"
rule c:
    input: "half"
    output: "grouped"
    group: "g"
    shell: "touch {output}"
"""


@feature("--jobs unlimited: a job fails", note="what has not begun is withdrawn, unless `--keep-going` is given")
@pytest.mark.parametrize("level", ["direct", "workflow"])
def test_what_was_handed_over_does_not_begin_once_a_job_has_failed(workflow: Workflow, level: str) -> None:
    workflow.env["SNAKEMAKE_DASKJQ_WARM_START"] = level
    workflow.write('rule all:\n    input: "bad", expand("out/{i}", i=range(36))\n' + ONE_FAILS)
    many = ("--jobs", "unlimited", "--daskjq-cores", "1")
    assert workflow.run(*many) == 1
    begun = {event["key"] for event in workflow.journal("job_placed")}
    withdrawn = {event["key"] for event in workflow.journal("job_withdrawn")}
    assert "bad-" in " ".join(begun)
    assert len(withdrawn) > 20
    assert not begun & withdrawn
    assert "jobs that have not begun are withdrawn" in workflow.output
    assert "Traceback" not in workflow.output
    made = {path.name for path in (workflow.folder / "out").iterdir()}
    assert len(made) == len(begun) - 1  # what had begun has come to its end
    assert workflow.run(*many, "--keep-going") == 1
    assert len(list((workflow.folder / "out").iterdir())) == 36  # none of them is taken for incomplete
    assert workflow.journal("job_withdrawn") == []
    (workflow.folder / "mended").touch()
    assert workflow.run(*many) == 0


@pytest.mark.parametrize("level", ["direct", "workflow"])
def test_what_is_withdrawn_is_as_incomplete_as_it_was(workflow: Workflow, level: str) -> None:
    workflow.env["SNAKEMAKE_DASKJQ_WARM_START"] = level
    workflow.write('rule all:\n    input: "bad", expand("out/{i}", i=range(20)), "grouped"\n' + ONE_FAILS + GROUPED)
    (workflow.folder / "mended").touch()
    many = ("--jobs", "unlimited", "--daskjq-cores", "1")
    assert workflow.run(*many) == 0
    (workflow.folder / "mended").unlink()
    assert workflow.run(*many, "--forceall") == 1
    withdrawn = {event["key"] for event in workflow.journal("job_withdrawn")}
    assert any(key.startswith("a-") for key in withdrawn)
    assert workflow.run(*many, "--until", "a", "c", "--rerun-triggers", "mtime") == 0, workflow.output[-2000:]
    assert "IncompleteFiles" not in workflow.output

    marks = workflow.folder / ".snakemake" / "incomplete"
    names = [f"out/{i}" for i in range(20)]
    for name in names:  # as a machine that crashed has left them
        (marks / base64.b64encode(name.encode()).decode()).write_text('{"external_jobid": null}')
    assert workflow.run(*many, "--rerun-incomplete", "--forcerun", "bad") == 1
    begun = [event["key"] for event in workflow.journal("job_placed") if event["key"].startswith("a-")]
    left = {base64.b64decode(path.name).decode() for path in marks.iterdir() if path.is_file()}
    assert len(left.intersection(names)) == len(names) - len(begun)


@feature("priority")
def test_jobs_of_higher_priority_go_first(workflow: Workflow) -> None:
    workflow.write("""
        rule all:
            input: "low", "middle", "high"
        rule low:
            output: touch("low")
            shell: "true"
        rule high:
            output: touch("high")
            priority: 100
            shell: "true"
        rule middle:
            output: touch("middle")
            priority: 50
            shell: "true"
    """)
    assert workflow.run("--jobs", "9", "--daskjq-cores", "1") == 0
    placed = [event["key"].partition("-")[0] for event in workflow.journal("job_placed")]
    assert placed == ["high", "middle", "low"]


@feature("--immediate-submit", cell="refused", note="with the reason: pilots take a job when its inputs are there")
def test_immediate_submit_is_refused(workflow: Workflow) -> None:
    workflow.write(CHAIN)
    assert workflow.run("--jobs", "9", "--immediate-submit", "--notemp") == 1
    assert "daskjq can't work with --immediate-submit" in workflow.output
    assert "Traceback" not in workflow.output


@feature("--jobname, --jobscript", cell="no effect", note="jobs are no batch jobs here; the latter is told")
def test_a_jobscript_has_no_effect_and_that_is_told(workflow: Workflow) -> None:
    workflow.write(CHAIN).write("", "script.sh")
    assert workflow.run("--jobs", "9", "--jobscript", "script.sh", "--jobname", "x.{jobid}") == 0
    assert "--jobscript has no effect" in workflow.output


@feature("cache")
def test_outputs_come_from_the_cache_in_another_folder(workflow: Workflow) -> None:
    workflow.env["SNAKEMAKE_OUTPUT_CACHE"] = str(workflow.folder / "cache")
    (workflow.folder / "cache").mkdir()
    snakefile = """
        rule a:
            output: "x"
            cache: True
            shell: "date +%N > {output}"
    """
    for folder in ("one", "two"):
        workflow.write(snakefile, f"{folder}/Snakefile")
        arguments = ["--directory", folder, "--snakefile", f"{folder}/Snakefile", "--cache", "a"]
        assert workflow.run("--jobs", "9", *arguments) == 0, workflow.output
    assert workflow.read("one/x") == workflow.read("two/x")


@pytest.mark.parametrize(
    ("directive", "method", "word"),
    [
        pytest.param('conda: "e.yaml"', "conda", "conda", marks=feature("conda: without conda", cell="refused")),
        pytest.param(
            'container: "docker://debian"',
            "apptainer",
            "apptainer",
            marks=feature("container: without apptainer", cell="refused"),
        ),
    ],
)
def test_a_deployment_method_that_is_not_there_is_refused(
    workflow: Workflow, directive: str, method: str, word: str
) -> None:
    workflow.write(f"""
        rule a:
            output: "x"
            {directive}
            shell: "touch {{output}}"
    """).write("dependencies: [python]", "e.yaml")
    workflow.env["PATH"] = "/usr/bin:/bin"
    assert workflow.run("--jobs", "9", "--software-deployment-method", method) == 1
    assert word in workflow.output.lower()
    assert not workflow.run_folders
