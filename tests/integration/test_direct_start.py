"""Direct starts: what a job of the local executor gets, a command gets on a pilot; and which jobs can't have one."""

from __future__ import annotations

import importlib.metadata
import os
import signal
import time
from pathlib import Path

import pytest

from ..workflow import PILOT, Workflow

KINDS = r"""
    import os
    from pathlib import Path
    os.environ["SET_HERE"] = "by the Snakefile"
    os.environ.pop("REMOVED_HERE", None)
    shell.prefix("PREFIX=prefixed; ")
    rule all:
        input:
            "shell", "long", "script", "bash", "shadow", "repeated", "tmpdir", "derived", "own", "executable", "late",
            "made", "path", "nested", "fewer"
    rule command:
        output: "shell"
        threads: 2
        shell: "echo $PREFIX $SET_HERE ${{REMOVED_HERE-none}} $OMP_NUM_THREADS {threads} > {output}"
    rule long:
        output: "long"
        params: text="x" * 100000
        shell: "echo {params.text} {resources.tmpdir} | wc -w > {output}; test -d {resources.tmpdir}"
    rule script:
        output: "script"
        params: value={"a": [1, 2]}
        script: "script.py"
    rule bash:
        output: "bash"
        script: "script.sh"
    rule shadow:
        output: "shadow"
        shadow: "minimal"
        shell: "touch left-behind; basename $(dirname $PWD) > {output}"
    rule repeated:
        output: "repeated"
        benchmark: repeat("benchmark.tsv", 3)
        shell: "sleep 0.1; echo {bench_iteration} >> {output}"
    rule tmpdir:
        output: "tmpdir"
        shell: "test -d {resources.tmpdir} && test {resources.tmpdir} = $TMPDIR && touch {resources.tmpdir}/x {output}"
    rule derived:
        output: "derived"
        params: folder=lambda wildcards, resources: resources.tmpdir + "/sub"
        shell: "mkdir {params.folder} && test $(dirname {params.folder}) = $TMPDIR && touch {output}"
    rule own:
        output: "own"
        resources: tmpdir="my-folder"
        shell: "echo $TMPDIR {resources.tmpdir} > {output}"
    rule executable:
        output: "executable"
        resources: shell_exec="sh"
        shell: "readlink /proc/$$/exe > {output}"
    rule late:
        output: "late"
        shell: "seq 1 3 > >( (sleep 2.5; cat) > {output} )"
    rule made:
        output: directory("made")
        log: "made/log"
        shell: "echo logged > {log}; touch {output}/file"
    rule path:
        output: "path"
        params: path=lambda wildcards, resources: Path(resources.tmpdir) / "x"
        shell: "echo hi > {params.path}; cat $TMPDIR/x > {output}"
    rule nested:
        output: "nested"
        params: folders=lambda wildcards, resources: {"one": [resources.tmpdir]}
        script: "nested.py"
    rule fewer:
        output: "fewer"
        threads: 64
        params: twice=lambda wildcards, threads: 2 * threads
        shell: "echo {threads} {params.twice} $OMP_NUM_THREADS > {output}"
"""
SCRIPT = """
import os
with open(snakemake.output[0], "w") as file:
    same = snakemake.resources.tmpdir == os.environ["TMPDIR"] and os.path.isdir(snakemake.resources.tmpdir)
    file.write(f"{snakemake.params.value} {snakemake.rule} {same}")
"""


NESTED = """
import os
open(snakemake.output[0], "w").write(str(snakemake.params.folders == {"one": [os.environ["TMPDIR"]]}))
"""
BASH = "test -d ${snakemake_resources[tmpdir]}; echo ${snakemake[rule]} > ${snakemake_output[0]}"


def test_all_kinds_of_rules_start_directly_and_get_what_local_ones_do(workflow: Workflow) -> None:
    workflow.env["REMOVED_HERE"] = "set outside"
    workflow.write(KINDS).write(SCRIPT, "script.py").write(NESTED, "nested.py")
    workflow.write(
        "test -d ${snakemake_resources[tmpdir]}; echo ${snakemake[rule]} > ${snakemake_output[0]}", "script.sh"
    )
    assert workflow.run("--jobs", "9", "--daskjq-cores", "4") == 0, workflow.output[-3000:]
    assert {(e["warm_start"], e["colder_because"]) for e in workflow.journal("job_ended")} == {("direct", "")}
    assert workflow.read("shell") == "prefixed by the Snakefile none 2 2\n"
    assert workflow.read("long") == "2\n"
    assert workflow.read("script") == "{'a': [1, 2]} script True"
    assert workflow.read("bash") == "bash\n"
    assert workflow.read("shadow") == "shadow\n"
    assert not (workflow.folder / "left-behind").exists()
    assert workflow.read("repeated") == "0\n1\n2\n"
    header, *measured = workflow.read("benchmark.tsv").splitlines()
    assert header.startswith("s\th:m:s\tmax_rss")
    assert len(measured) == 3
    assert all(0.1 <= float(line.split("\t")[0]) < 60 for line in measured)
    assert workflow.read("own") == "my-folder my-folder\n"
    assert os.path.basename(workflow.read("executable").strip()) in ("dash", "sh", "bash")
    assert workflow.read("late") == "1\n2\n3\n"
    assert workflow.read("made/log") == "logged\n"
    assert (workflow.folder / "made" / "file").exists()
    assert workflow.read("path") == "hi\n"
    assert workflow.read("nested") == "True"
    assert workflow.read("fewer") == "4 8 4\n"
    for folder in ("scripts", "shadow"):
        assert list((workflow.folder / ".snakemake" / folder).iterdir()) == []
    assert list((workflow.folder / ".snakemake").glob("shell_tmp.*")) == []


@pytest.mark.parametrize(
    ("rule", "because"),
    [
        ("run: open(output[0], 'w')", "its rule is Python code (run:)"),
        ("group: 'g'\n    shell: 'touch {output}'", "it is a group of jobs"),
        ("shadow: 'copy-minimal'\n    shell: 'touch {output}'", "its inputs are copied (shadow: copy-minimal)"),
        ("shadow: 'minimal'\n    script: 'script.sh'", "its rule has both script: and shadow:"),
        (
            "params: d=lambda w, resources: resources.tmpdir + '/x'\n    script: 'script.py'",
            "its params hold the folder",
        ),
    ],
)
def test_what_can_t_start_directly_starts_colder_and_says_why(workflow: Workflow, rule: str, because: str) -> None:
    workflow.write("touch ${snakemake_output[0]}", "script.sh")
    workflow.write("open(snakemake.output[0], 'w').write(snakemake.params.d)", "script.py")
    (workflow.folder / "Snakefile").write_text(f"rule a:\n    output: 'a'\n    {rule}\n")
    assert workflow.run("a", "--jobs", "2") == 0, workflow.output[-3000:]
    (ended,) = workflow.journal("job_ended")
    assert ended["warm_start"] in ("workflow", "import")
    assert ended["colder_because"].startswith(because)
    assert (workflow.folder / "a").exists()


def test_a_precommand_and_files_that_are_not_shared_rule_it_out(workflow: Workflow) -> None:
    workflow.write("rule a:\n    output: 'a'\n    shell: 'touch {output}'\n")
    assert workflow.run("a", "--jobs", "1", "--precommand", "true") == 0, workflow.output[-3000:]
    (ended,) = workflow.journal("job_ended")
    assert (ended["warm_start"], ended["colder_because"]) == ("off", "a command has to run before it")


def test_a_job_that_can_t_be_prepared_fails_alone(workflow: Workflow) -> None:
    """Its input is gone when Snakemake looks for it."""
    workflow.write("""
        from pathlib import Path
        rule all:
            input: "unprepared", "other"
        rule first:
            output: "first"
            shell: "touch {output}"
        rule unprepared:
            input: "first"
            output: update("unprepared")
            params: gone=lambda wildcards: Path("first").unlink(missing_ok=True)
            shell: "touch {output}"
        rule other:
            output: "other"
            shell: "touch {output}"
    """).write("old", "unprepared")
    assert workflow.run("--jobs", "2", "--keep-going", "--latency-wait", "0", "--forceall") == 1
    assert (workflow.folder / "other").exists()
    assert workflow.read("unprepared") == "old"  # nothing of it has run
    assert "Error in rule unprepared" in workflow.output
    assert "first (missing locally" in workflow.output
    assert "unprepared" not in {event["key"].partition("-")[0] for event in workflow.journal("job_placed")}


def test_the_exit_status_is_the_command_s_own_and_its_last_words_are_shown(workflow: Workflow) -> None:
    workflow.write("""
        rule a:
            output: "a"
            shell: "touch {output}; echo returned non-zero exit status 7.; exit 3"
    """)
    assert workflow.run("a", "--jobs", "1") == 1
    (ended,) = workflow.journal("job_ended")
    assert (ended["end"], ended["exit_status"], ended["detail"]) == ("failed", 3, "")
    assert "exit status 3 on pilot local-1" in workflow.output
    assert "        returned non-zero exit status 7." in workflow.output
    assert not (workflow.folder / "a").exists()


def test_a_lost_try_leaves_nothing_to_the_next(workflow: Workflow) -> None:
    """The main process has prepared the job once: what the first try has made is removed where the second runs."""
    workflow.write("""
        rule a:
            output: "a", directory("d")
            log: "a.log"
            shell:
                "echo line >> {output[0]}; echo line >> {log}; mkdir d; touch up;"
                "while [ ! -e go ]; do sleep 0.05; done"
    """)
    process = workflow.start("a", "d", "--jobs", "1")
    workflow.wait_for("up")
    workflow.only(PILOT).send_signal(signal.SIGKILL)
    workflow.wait_until(lambda: "lost" in [event["end"] for event in workflow.journal("job_ended")])
    (workflow.folder / "up").unlink()
    workflow.wait_for("up")
    (workflow.folder / "go").touch()
    assert process.wait(60) == 0, workflow.output[-3000:]
    assert (workflow.read("a"), workflow.read("a.log")) == ("line\n", "line\n")


def test_an_interrupt_leaves_no_script_behind(workflow: Workflow) -> None:
    """Also where Polars is installed: Snakemake imports it for the script, and it takes SIGINT for itself."""
    assert importlib.metadata.version("polars")
    workflow.write("rule a:\n    output: 'a'\n    script: 'script.py'\n")
    workflow.write("import time\nopen('up', 'w')\ntime.sleep(60)\n", "script.py")
    process = workflow.start("a", "--jobs", "1")
    workflow.wait_for("up")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) != 0
    assert list((workflow.folder / ".snakemake" / "scripts").iterdir()) == []


def test_what_a_command_leaves_running_ends_with_its_job(workflow: Workflow) -> None:
    """It has a second to end by itself: a `tee` that writes a log, say."""
    workflow.write("""
        rule a:
            output: "a"
            shell: "(sleep 100; touch never) & echo done > {output}"
    """)
    start = time.monotonic()
    assert workflow.run("a", "--jobs", "1") == 0
    assert time.monotonic() - start < 60
    assert workflow.leftovers() == []


def test_memory_of_a_direct_start_counts_from_the_first_megabyte(workflow: Workflow) -> None:
    workflow.write("""
        rule a:
            output: "a"
            resources: mem_mb=100
            shell: "python -c 'import time; x = bytearray(150_000_000); time.sleep(30)'; touch {output}"
    """)
    assert workflow.run("a", "--jobs", "1") == 1
    (ended,) = workflow.journal("job_ended")
    assert ended["end"] == "out_of_memory"


def test_names_of_files_are_read_by_no_shell_of_ours(workflow: Workflow) -> None:
    names = ["a b", "x'y", 'd"q', "semi;colon", "p$HOME", "c,d=e", "'both'", "-dash"]
    workflow.write(f"""
        NAMES = {names!r}
        rule all:
            input: [f"o/{{name}}.txt" for name in NAMES]
        rule a:
            output: "o/{{name}}.txt"
            shell: "printf %s {{wildcards.name:q}} > {{output:q}}"
    """)
    assert workflow.run("--jobs", "4") == 0, workflow.output[-3000:]
    assert {name: (workflow.folder / "o" / f"{name}.txt").read_text() for name in names} == {
        name: name for name in names
    }


def test_the_folder_of_the_run_holds_no_file_of_a_direct_start_but_its_log(workflow: Workflow) -> None:
    workflow.write("rule a:\n    output: 'a'\n    script: 'script.sh'\n").write("touch a", "script.sh")
    assert workflow.run("a", "--jobs", "1", "--daskjq-keep-successful-logs") == 0, workflow.output[-3000:]
    (run,) = workflow.run_folders
    assert [path.name for path in Path(run, "logs").rglob("*") if path.is_file()] == ["a-0-1.log"]


def test_logs_of_jobs_that_succeed_are_removed_and_those_of_failed_ones_stay(any_warmth: Workflow) -> None:
    """Also those of one that lacks its output, as only Snakemake finds, and of the first of two tries."""
    any_warmth.write("""
        rule all:
            input: "good", "bad", "again", "without"
        rule good:
            output: "good"
            shell: "echo good; touch {output}"
        rule bad:
            output: "bad"
            shell: "echo bad; exit 1"
        rule again:
            output: "again"
            retries: 1
            resources: runtime=lambda wildcards, attempt: attempt
            shell: "echo again; [ {resources.runtime} = 2 ] && touch {output}"
        rule without:
            output: "without"
            shell: "echo without"
    """)
    assert any_warmth.run("--jobs", "1", "--keep-going", "--latency-wait", "1") == 1
    (run,) = any_warmth.run_folders
    logs = {path.parent.name: path.read_text() for path in Path(run, "logs").rglob("*.log")}
    assert sorted(logs) == ["again", "bad", "without"]
    assert all(rule in text for rule, text in logs.items()), logs


def test_old_outputs_stay_until_their_job_starts(workflow: Workflow) -> None:
    """Jobs are handed over long before they run: an interrupted run leaves what it has not come to."""
    workflow.write("""
        rule all:
            input: "held", "waiting", "folder", "shadowed"
        rule held:
            output: "held"
            priority: 1
            shell: "touch up; sleep 60; touch {output}"
        rule waiting:
            output: "waiting"
            shell: "touch {output}"
        rule folder:
            output: directory("folder")
            shell: "mkdir {output}"
        rule shadowed:
            output: "shadowed"
            shadow: "minimal"
            shell: "touch {output}"
    """)
    for name in ("held", "waiting", "folder/old"):
        workflow.write("old", name)
    process = workflow.start("--jobs", "unlimited", "--forceall", "--daskjq-cores", "1")
    workflow.wait_for("up")
    assert not (workflow.folder / "held").exists()
    process.send_signal(signal.SIGINT)
    assert process.wait(30) != 0
    assert (workflow.read("waiting"), workflow.read("folder/old")) == ("old", "old")
    assert list((workflow.folder / ".snakemake" / "incomplete").iterdir()) == []
    assert list((workflow.folder / ".snakemake" / "shadow").iterdir()) == []


def test_what_is_kept_of_an_interrupted_job_is_incomplete(workflow: Workflow) -> None:
    workflow.write("""
        rule a:
            output: "a"
            shell: "echo half > {output}; touch up; sleep 60"
    """)
    process = workflow.start("a", "--jobs", "1", "--keep-incomplete")
    workflow.wait_for("up")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) != 0
    assert workflow.read("a") == "half\n"
    assert workflow.run("a", "--jobs", "1") == 1
    assert "IncompleteFilesException" in workflow.output


def test_a_benchmark_that_can_t_be_written_fails_its_job_alone(workflow: Workflow) -> None:
    workflow.write("""
        rule all:
            input: "a", "b"
        rule a:
            output: "a"
            benchmark: "folder/a.tsv"
            retries: 1
            resources: mem_mb=lambda wildcards, attempt: attempt
            shell: "[ {resources.mem_mb} = 2 ] || rm -r folder; touch {output}"
        rule b:
            output: "b"
            shell: "while [ ! -e folder/a.tsv ]; do sleep 0.05; done; touch {output}"
    """)
    assert workflow.run("--jobs", "2", "--daskjq-cores", "2", "--daskjq-limits", "off") == 0, workflow.output[-3000:]
    assert "its benchmark can't be written" in workflow.output


def test_scripts_that_are_kept_name_the_folder_that_they_had(workflow: Workflow) -> None:
    workflow.write("rule a:\n    output: 'a'\n    script: 'script.sh'\n")
    workflow.write("echo ${snakemake_resources[tmpdir]} > ${snakemake_output[0]}\n", "script.sh")
    assert workflow.run("a", "--jobs", "1", "--skip-script-cleanup") == 0, workflow.output[-3000:]
    (script,) = (workflow.folder / ".snakemake" / "scripts").iterdir()
    assert workflow.read("a").strip() in script.read_text()


def test_an_updated_output_in_a_shadow_folder_keeps_its_content(workflow: Workflow) -> None:
    workflow.write("""
        rule a:
            output: update("u")
            shadow: "shallow"
            shell: "echo new >> u"
    """).write("old\n", "u")
    assert workflow.run("--jobs", "1", "--forceall", "u") == 0, workflow.output[-3000:]
    assert workflow.read("u") == "old\nnew\n"
