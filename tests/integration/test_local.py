"""Whole workflows on the local system, run as a user runs them."""

from __future__ import annotations

import json
import math
import os
import re
import statistics
import subprocess
import sys

import psutil
import pytest

from ..snakefiles import MANY
from ..workflow import CONTROLLER, Workflow


def test_a_workflow_runs_and_a_second_time_there_is_nothing_to_do(workflow: Workflow) -> None:
    workflow.write(MANY)
    assert workflow.run() == 0
    assert [workflow.read(f"out/{i}.txt") for i in range(6)] == [f"{i}\n" for i in range(6)]
    assert len(workflow.run_folders) == 1

    assert workflow.run() == 0
    assert "Nothing to be done" in workflow.output
    assert len(workflow.run_folders) == 1  # no second run folder: no scheduler, no pilot


def test_the_journal_tells_all_of_it(workflow: Workflow) -> None:
    workflow.write(MANY)
    assert workflow.run() == 0
    events = workflow.journal()
    assert events[0]["event"] == "run_started"
    assert events[0]["schema"] == 1
    assert events[-1] | {"t": 0} == {"t": 0, "event": "run_ended", "cancelled": False}
    by_job: dict[str, list[str]] = {}
    for event in events:
        if "key" in event:
            by_job.setdefault(event["key"], []).append(event["event"])
    assert len(by_job) == 6
    for names in by_job.values():
        assert names == ["job_submitted", "job_placed", "job_ended", "job_reported"]
    ended = workflow.journal("job_ended")
    assert all(event["end"] == "succeeded" and event["exit_status"] == 0 for event in ended)
    assert all(event["ended_at"] > event["started_at"] and event["cpu_s"] > 0 for event in ended)
    assert all(event["peak_mem_mb"] > 1 for event in ended)
    pilots = [e["event"] for e in events if e["event"].startswith("pilot")]
    assert pilots == ["pilot_requested", "pilot_submitted", "pilot_started", "pilot_ended"]


def test_the_end_of_a_job_reaches_snakemake_at_once(workflow: Workflow) -> None:
    workflow.write(MANY)
    assert workflow.run("--jobs", "unlimited", "--config", "count=100") == 0
    ended = {event["key"]: event["ended_at"] for event in workflow.journal("job_ended")}
    reported = {event["key"]: event["t"] for event in workflow.journal("job_reported")}
    assert len(reported) == 100
    assert statistics.median(reported[key] - ended[key] for key in reported) < 0.05


def test_failure_shows_rule_exit_status_log_and_last_lines(any_warmth: Workflow) -> None:
    any_warmth.write("""
        rule broken:
            output: "x"
            shell: "echo this is why >&2; exit 42"
    """)
    assert any_warmth.run() == 1
    log = next(iter(any_warmth.run_folders[-1].glob("logs/broken/*.log")))
    assert "Error in rule broken" in any_warmth.output
    assert f"exit status 42 on pilot local-1; log: {log}" in any_warmth.output
    assert "this is why" in any_warmth.output
    assert "Traceback" not in any_warmth.output


def test_keep_going_runs_what_does_not_depend_on_the_failure(workflow: Workflow) -> None:
    workflow.write("""
        rule all:
            input: "good", "after"
        rule bad:
            output: "bad"
            shell: "exit 1"
        rule after:
            input: "bad"
            output: "after"
            shell: "touch {output}"
        rule good:
            output: "good"
            shell: "sleep 0.5; touch {output}"
    """)
    assert workflow.run("--jobs", "4", "--keep-going") == 1
    assert (workflow.folder / "good").exists()
    assert not (workflow.folder / "after").exists()
    assert "1 job succeeded, 1 failed" in workflow.output


@pytest.mark.parametrize("how", ["directive", "option"])
def test_retries_raise_attempt_and_resources_follow(any_warmth: Workflow, how: str) -> None:
    any_warmth.write(f"""
        rule a:
            output: "x"
            {"retries: 2" if how == "directive" else ""}
            resources: mem_mb=lambda wildcards, attempt: 100 * attempt
            shell: "test {{resources.mem_mb}} -ge 300 && echo {{resources.mem_mb}} > {{output}}"
    """)
    assert any_warmth.run("--jobs", "1", *(["--retries", "2"] if how == "option" else [])) == 0
    assert any_warmth.read("x") == "300\n"
    submitted = any_warmth.journal("job_submitted")
    assert [event["attempt"] for event in submitted] == [1, 2, 3]
    assert [event["amounts"]["mem_mb"] for event in submitted] == [100, 200, 300]


def test_resources_given_as_callables_and_strings(workflow: Workflow) -> None:
    workflow.write("""
        rule all:
            input: "a", "b"
        rule a:
            output: "a"
            threads: lambda wildcards, attempt: 2
            resources: mem="1.5 GB", runtime="2m"
            shell: "touch {output}"
        rule b:
            output: "b"
            resources: mem_mb=lambda wildcards, input, threads: 300 * threads, licenses=2
            shell: "touch {output}"
    """)
    assert workflow.run("--jobs", "2", "--daskjq-cores", "2", "--daskjq-resources", "licenses=2") == 0
    submitted = {event["rule"]: event for event in workflow.journal("job_submitted")}
    assert submitted["a"]["amounts"] == {"cores": 2, "mem_mb": 1500}
    assert submitted["a"]["runtime_s"] == 120
    assert submitted["b"]["amounts"] == {"cores": 1, "mem_mb": 300, "licenses": 2}


def test_more_threads_than_cores_are_scaled_down_as_snakemake_does_locally(workflow: Workflow) -> None:
    workflow.write("""
        rule wide:
            output: "x"
            threads: 64
            shell: "echo {threads} > {output}"
    """)
    assert workflow.run("--jobs", "1", "--daskjq-cores", "2") == 0
    assert workflow.read("x") == "2\n"


def test_cores_bound_what_runs_at_a_time(workflow: Workflow) -> None:
    workflow.write("""
        rule all:
            input: expand("{i}", i=range(6))
        rule a:
            output: "{i}"
            threads: 2
            shell: "touch {output}; sleep 0.2"
    """)
    assert workflow.run("--jobs", "10", "--daskjq-cores", "4") == 0
    edges = [(e["started_at"], 2) for e in workflow.journal("job_ended")]
    edges += [(e["ended_at"], -2) for e in workflow.journal("job_ended")]
    busy = most = 0
    for _, change in sorted(edges):
        busy += change
        most = max(most, busy)
    assert most == 4


def test_local_rules_stay_local_and_groups_go_as_one(any_warmth: Workflow) -> None:
    any_warmth.write("""
        localrules: first
        rule all:
            input: "c"
        rule first:
            output: "a"
            shell: "touch {output}"
        rule second:
            input: "a"
            output: "b"
            group: "both"
            threads: 1
            resources: mem_mb=100, runtime=1
            shell: "touch {output}"
        rule third:
            input: "b"
            output: "c"
            group: "both"
            threads: 2
            resources: mem_mb=300, runtime=2
            shell: "touch {output}"
    """)
    assert any_warmth.run("--jobs", "4", "--daskjq-cores", "2") == 0
    (submitted,) = any_warmth.journal("job_submitted")
    # One after the other: the larger of each amount, and the sum of the runtimes.
    assert submitted["amounts"] == {"cores": 2, "mem_mb": 300}
    assert submitted["runtime_s"] == 180


def test_secrets_reach_the_rule_and_no_command_line_log_or_journal(any_warmth: Workflow) -> None:
    secret = "s3cr3t-'$HOME'"
    any_warmth.env["MY_TOKEN"] = secret
    any_warmth.write("""
        envvars: "MY_TOKEN"
        rule a:
            output: "x"
            shell: "printf %s \\"$MY_TOKEN\\" > {output}; for p in /proc/[0-9]*; do "
                   "tr '\\\\0' ' ' < $p/cmdline; done > lines 2>/dev/null || true"
    """)
    assert any_warmth.run() == 0
    assert any_warmth.read("x") == secret
    assert "snakemake" in any_warmth.read("lines")
    assert "s3cr3t" not in any_warmth.read("lines")
    for path in any_warmth.run_folders[-1].rglob("*"):
        assert path.is_dir() or "s3cr3t" not in path.read_text(errors="replace"), path


def test_file_names_are_never_read_by_a_shell(any_warmth: Workflow) -> None:
    name = "a b;touch pwned;$(touch pwned)'\"&"
    any_warmth.write(f"""
        rule all:
            input: {f"out/{name}.txt"!r}
        rule a:
            output: "out/{{name}}.txt"
            run:
                open(output[0], "w").close()
    """)
    assert any_warmth.run() == 0, any_warmth.output
    assert (any_warmth.folder / "out" / f"{name}.txt").exists()
    assert not (any_warmth.folder / "pwned").exists()


def test_a_precommand_runs_before_each_job(workflow: Workflow) -> None:
    workflow.write(MANY)
    assert workflow.run("--jobs", "2", "--config", "count=2", "--precommand", "echo before >> marks") == 0
    assert workflow.read("marks") == "before\nbefore\n"


def test_nothing_listens_beyond_loopback(workflow: Workflow) -> None:
    workflow.write("""
        rule a:
            output: "x"
            shell: "touch ready; sleep 60"
    """)
    process = workflow.start("--jobs", "1")
    workflow.wait_for("ready")
    ours = {process.pid for process in workflow.processes()}
    listening = {
        connection.laddr.ip
        for connection in psutil.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN and connection.pid in ours
    }
    process.terminate()
    process.wait(30)
    assert listening == {"127.0.0.1"}


def test_nobody_without_the_runs_certificate_gets_in(workflow: Workflow) -> None:
    from distributed import Client
    from distributed.security import Security

    workflow.write("""
        rule a:
            output: "x"
            shell: "touch ready; while [ ! -e go ]; do sleep 0.05; done; touch {output}"
    """)
    process = workflow.start("--jobs", "1")
    workflow.wait_for("ready")
    log = (workflow.run_folders[-1] / "pilots" / "local-1.log").read_text()
    scheduler = log[log.index("Registered to:") :].split()[2]
    assert scheduler.startswith("tls://")
    for address, security in ((scheduler.replace("tls://", "tcp://"), None), (scheduler, Security.temporary())):
        with pytest.raises(OSError, match=r"Timed out|reset by peer|closed|TLS certificate does not match"):
            Client(address, security=security, timeout=3, set_as_default=False)
    (workflow.folder / "go").touch()
    assert process.wait(30) == 0


def test_quiet_leaves_our_lines_out_and_the_default_has_one_at_start_and_end(workflow: Workflow) -> None:
    workflow.write(MANY)
    assert workflow.run("--jobs", "2", "--config", "count=1") == 0
    lines = [line for line in workflow.output.splitlines() if line.startswith("daskjq:")]
    assert len(lines) == 2
    assert lines[0].startswith("daskjq: system local; pool local: this machine with cores=")
    assert re.fullmatch(r"daskjq: 1 job succeeded; 1 pilot, [\d.e-]+ core-hours, \d+ % of them used", lines[1])

    assert workflow.run("--jobs", "2", "--config", "count=2", "--quiet", "progress") == 0
    assert "daskjq:" not in workflow.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--daskjq-system", "slrum"], "--daskjq-system: found 'slrum', allowed is one of local, slurm"),
        (["--daskjq-memory", "lots"], "--daskjq-memory: found 'lots'"),
        (["--daskjq-queue", "main"], "--daskjq-queue: found 'main'"),
        (["--daskjq-cores", "many"], "--daskjq-cores: invalid int value: 'many'"),
        (
            ["--daskjq-system", "pbs"],
            "--daskjq-cores, or cores of pool pbs in the pools file: found None, allowed is a whole number from 1",
        ),
        (
            ["--daskjq-system", "slurm", "--daskjq-cores", "1", "--daskjq-memory", "1GB", "--daskjq-config-name", "no"],
            "--daskjq-config-name: found 'no'",
        ),
        (["--daskjq-interface", "nosuch0"], "could not be started on interface nosuch0"),
    ],
)
def test_a_wrong_option_is_one_clear_error(workflow: Workflow, arguments: list[str], message: str) -> None:
    workflow.write(MANY)
    assert workflow.run("--jobs", "1", *arguments) != 0
    assert message in workflow.output
    assert "Traceback" not in workflow.output


def test_a_folder_that_cannot_be_written_is_one_clear_error(workflow: Workflow) -> None:
    workflow.write(MANY)
    (workflow.folder / "file").touch()
    assert workflow.run("--jobs", "1", "--daskjq-log-folder", "file/inside") == 1
    assert "daskjq can't write its folder file/inside" in workflow.output
    assert "Traceback" not in workflow.output


def test_a_profile_and_the_environment_set_options(workflow: Workflow) -> None:
    workflow.write(MANY)
    workflow.write(
        """
        executor: daskjq
        jobs: 4
        daskjq-cores: 3
        daskjq-resources:
          - licenses=1
          - slots=7
        """,
        "profile/profile.yaml",
    )
    workflow.env["SNAKEMAKE_DASKJQ_MEMORY"] = "1500"
    assert workflow.run("--profile", "profile", "--config", "count=1") == 0
    (pool,) = workflow.journal("run_started")[0]["pools"].values()
    assert (pool["cores"], pool["mem_mb"], pool["others"]) == (3, 1500, {"licenses": 1, "slots": 7})


def test_the_options_are_in_snakemakes_help() -> None:
    text = subprocess.run([sys.executable, "-m", "snakemake", "--help"], capture_output=True, text=True).stdout
    for option in ("--daskjq-system", "--daskjq-max-pilots", "--daskjq-idle-timeout"):
        assert option in text


def test_a_workflow_written_for_the_slurm_executor_runs_without_a_word(workflow: Workflow) -> None:
    workflow.write("""
        rule all:
            input: "0", "1"
        rule a:
            output: "{i}"
            resources: slurm_partition="bigmem", slurm_account="lab", qos="long", slurm_extra="--mail-type=ALL"
            shell: "touch {output}"
    """)
    assert workflow.run("--jobs", "2") == 0
    assert "rule a asks for" not in workflow.output


@pytest.mark.parametrize("option", ["--dry-run", "--touch"])
def test_a_dry_run_and_a_touch_start_nothing(workflow: Workflow, option: str) -> None:
    workflow.write(MANY)
    for i in range(6):
        workflow.write("", f"out/{i}.txt")
    assert workflow.run("--jobs", "2", option, "--forceall") == 0
    assert workflow.run_folders == []


def test_the_main_process_never_imports_what_the_controller_is_for(workflow: Workflow) -> None:
    hook = """
    import pandas
    onsuccess:
        import sys
        heavy = {"dask", "distributed", "dask_jobqueue", "snakemake_executor_daskjq.cluster"}
        print("imported:", sorted(heavy.intersection(sys.modules)), flush=True)  # Snakemake itself imports PuLP
    """
    workflow.write(hook + MANY)
    assert workflow.run("--jobs", "2") == 0
    assert "imported: []" in workflow.output


def test_warnings_of_the_controller_are_in_its_log_and_not_on_the_terminal(workflow: Workflow) -> None:
    workflow.write(
        """
        import sys
        if "snakemake_executor_daskjq.controller" in sys.orig_argv:
            import warnings
            print("a first word", file=sys.stderr, flush=True)  # before there is a folder
            import asyncio.events
            new_event_loop = asyncio.events.new_event_loop
            def loop_that_warns():
                loop = new_event_loop()
                loop.call_later(2.0, warnings.warn, "a warning")
                return loop
            asyncio.events.new_event_loop = loop_that_warns
        """,
        "warning/sitecustomize.py",
    )
    workflow.write(MANY.replace('shell: "', 'shell: "sleep 2; '))
    workflow.env["PYTHONPATH"] = os.pathsep.join([str(workflow.folder / "warning"), os.environ.get("PYTHONPATH", "")])
    assert workflow.run("--jobs", "2", "--config", "count=1") == 0
    log = (workflow.run_folders[-1] / "controller.log").read_text()
    assert "a first word" in log
    assert "UserWarning: a warning" in log
    assert "a first word" not in workflow.output
    assert "a warning" not in workflow.output


def test_a_run_of_local_rules_alone_starts_no_controller(workflow: Workflow) -> None:
    workflow.write("""
        localrules: a
        rule a:
            output: "x"
            shell: "touch up; while [ ! -e go ]; do sleep 0.05; done; touch {output}"
    """)
    process = workflow.start("--jobs", "1")
    workflow.wait_for("up")
    assert workflow.started_as(CONTROLLER) == []
    (workflow.folder / "go").touch()
    assert process.wait(30) == 0
    assert workflow.run_folders == []


def test_what_rules_used_is_kept_for_the_next_run(workflow: Workflow) -> None:
    workflow.write("""
        rule all:
            input: "a1", "a2", "b"
        rule a:
            output: "a{i}"
            shell: "sleep 0.2; touch {output}"
        rule b:
            output: "b"
            resources: mem_mb=10
            shell: "touch {output}"
    """)
    assert workflow.run() == 0
    kept = json.loads(workflow.read(".snakemake/daskjq/history.json"))["rules"]
    assert {rule: usage["jobs"] for rule, usage in kept.items()} == {"a": 2, "b": 1}
    assert kept["a"]["wall_s"] >= 0.2
    assert kept["a"]["peak_mem_mb"] > 1
    (workflow.folder / "a1").unlink()
    (workflow.folder / "b").unlink()
    assert workflow.run() == 0
    asked = {event["rule"]: event["amounts"].get("mem_mb") for event in workflow.journal("job_submitted")}
    assert asked == {"a": math.ceil(1.25 * kept["a"]["peak_mem_mb"]), "b": 10}
