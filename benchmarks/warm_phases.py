"""Where the CPU time of a trivial job at `workflow` goes, phase by phase.

    python benchmarks/warm_phases.py [JOBS]

A fork server with marks in Snakemake's functions, and this script in the place of its pilot. The marks themselves cost
a little. Page faults are listed because they are most of the cost: a child copies each page that it touches.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from snakemake_executor_daskjq.frames import HEADER, Frame, body_length, decode, encode
from snakemake_executor_daskjq.launcher import fork_server as warm
from snakemake_executor_daskjq.launcher.snakemake_internals import ParsedWorkflow, Snakemake
from snakemake_executor_daskjq.model.request import Launch, WarmStart
from snakemake_executor_daskjq.pilot.contexts import opening
from snakemake_executor_daskjq.pilot.launcher_client import start_frame

SNAKEFILE = """
rule a:
    output: "out/{i}"
    shell: "echo {wildcards.i} > {output}"
"""
ARGUMENTS = (
    *(
        "--force",
        "--nolock",
        "--retries",
        "0",
        "--scheduler",
        "greedy",
        "--mode",
        "remote",
        "--max-inventory-time",
        "0",
    ),
    *("--target-files-omit-workdir-adjustment", "--no-hooks", "--ignore-incomplete", "--nocolor"),
    *("--quiet", "progress", "rules", "host", "--default-resources", "tmpdir=system_tmpdir"),
)
PHASES = (
    ("forked", "fork"),
    ("execute", "become the job: session, signals, log"),
    ("_build_dag", "begin: the first log record, the empty DAG of its rule"),
    ("scheduler", "build the DAG of one job"),
    ("run_jobs", "schedule: evaluate resources, select"),
    ("run_wrapper", "start: job's record, metadata"),
    ("ran", "run the rule, without its shell"),
    ("executed", "finish: check output, metadata"),
    ("exit", "end: close loops and log, Python's exit functions"),
)
"""Each mark, and what has been done since the one before."""

marks: list[tuple[str, float, int]] = []


def usage_s(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime


def mark(name: str) -> None:
    if name == "forked":
        marks.clear()  # the rehearsal's
    usage = resource.getrusage(resource.RUSAGE_SELF)
    marks.append((name, usage_s(usage), usage.ru_minflt))


def marked(function: Callable[..., Any], before: str = "", after: str = "") -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        if before:
            mark(before)
        try:
            return function(*arguments, **options)
        finally:
            if after:
                mark(after)

    return call


def host() -> None:
    """In the place of `launcher.fork_server`: the same, with marks."""
    end = os._exit

    def write_and_end(status: int) -> None:
        if any(name == "forked" for name, *_ in marks):
            mark("exit")
            children = resource.getrusage(resource.RUSAGE_CHILDREN)
            with open("marks.jsonl", "a", encoding="ascii") as file:
                print(json.dumps({"marks": marks, "shell_s": usage_s(children)}), file=file)
        end(status)

    def rehearse(snakemake: Snakemake, tmpdirs: str) -> None:
        import snakemake.executors.local as local
        import snakemake.scheduling.job_scheduler as scheduler
        import snakemake.workflow as workflow

        # Before the rehearsal: what Python finds out about a class is lost when the class changes.
        ParsedWorkflow.go_on = marked(ParsedWorkflow.go_on, after="execute")  # type: ignore[method-assign]
        scheduler.JobScheduler.schedule = marked(scheduler.JobScheduler.schedule, after="executed")
        workflow.Workflow._build_dag = marked(workflow.Workflow._build_dag, "_build_dag")
        scheduler.JobScheduler.__init__ = marked(scheduler.JobScheduler.__init__, "scheduler")
        scheduler.JobScheduler.run = marked(scheduler.JobScheduler.run, "run_jobs")
        local.run_wrapper = marked(local.run_wrapper, "run_wrapper", "ran")
        warm.ForkServer._in_child = marked(warm.ForkServer._in_child, "forked")  # type: ignore[method-assign]
        unmarked(snakemake, tmpdirs)

    unmarked, Snakemake.rehearse = Snakemake.rehearse, rehearse  # type: ignore[method-assign]
    os._exit = write_and_end  # type: ignore[assignment]
    warm.main()


def run(jobs: int) -> tuple[list[dict[str, float]], float]:
    """For each job the CPU seconds and page faults of each phase, and the CPU seconds a job that its host takes."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "Snakefile").write_text(SNAKEFILE)
        ours, theirs = socket.socketpair()
        with (
            ours,
            subprocess.Popen(
                [sys.executable, __file__, "--host", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            ),
        ):
            theirs.close()
            stream = ours.makefile("rwb")

            def send(frame: Frame | None) -> None:
                assert frame is not None
                stream.write(encode(frame))
                stream.flush()

            def receive() -> Frame:
                return decode(stream.read(body_length(stream.read(HEADER.size))))

            def launch(i: int) -> Launch:
                cache = ("--runtime-source-cache-path", f"{folder}/snakemake/source-cache/run")
                argv = ("--snakefile", f"{folder}/Snakefile", *cache, *ARGUMENTS)
                rule = ("--target-jobs", f"a:i={i}", "--allowed-rules", "a")
                own = (*rule, "--cores", "1", "--force-use-threads", "--attempt", "1")
                return Launch(f"a{i}", argv, own, folder, f"{folder}/log", sys.executable, env={"TMPDIR": folder})

            send(opening(launch(0), WarmStart.WORKFLOW))
            ready = receive()
            assert ready["op"] == "ready"
            totals = []
            before_s = cpu_of(ready["pid"])
            for i in range(jobs):
                send(start_frame(launch(i), WarmStart.WORKFLOW))
                while (frame := receive())["op"] == "started":
                    pass
                assert frame["op"] == "ended", frame
                assert frame["status"] == 0, (Path(folder) / "log").read_text()
                totals.append(frame["cpu_s"])
            host_s = (cpu_of(ready["pid"]) - before_s) / jobs
            ours.shutdown(socket.SHUT_RDWR)  # the host ends
        lines = [json.loads(line) for line in (Path(folder) / "marks.jsonl").read_text().splitlines()]
    return [phases_of(line, total_s) for line, total_s in zip(lines, totals, strict=True)], host_s


def cpu_of(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def phases_of(line: dict[str, Any], total_s: float) -> dict[str, float]:
    found: dict[str, float] = {}
    last_s, last_faults = 0.0, 0
    known = dict(PHASES)
    for name, cpu_s, faults in line["marks"]:
        found[known[name]] = cpu_s - last_s
        found[f"faults {known[name]}"] = faults - last_faults
        last_s, last_faults = cpu_s, faults
    found["the rule's shell (bash)"] = line["shell_s"]
    found["exit: the kernel frees the memory"] = total_s - last_s - line["shell_s"]
    found["all"] = total_s
    return found


def report(jobs: int) -> None:
    """Print the median of each phase."""
    measured, host_s = run(jobs)
    measured = measured[3:]
    print(f"  where the CPU of a trivial job at workflow goes (median of {len(measured)} jobs):")
    for name in [
        *(name for _, name in PHASES),
        *("the rule's shell (bash)", "exit: the kernel frees the memory", "all"),
    ]:
        value_ms = 1000 * statistics.median(phases[name] for phases in measured)
        faults = statistics.median(phases.get(f"faults {name}", 0) for phases in measured)
        print(f"    {name:<54} {value_ms:6.2f} ms {f'{faults:5.0f} page faults' if faults else ''}")
    print(f"    {'beside it, at any level: the host forks and reaps':<54} {1000 * host_s:6.2f} ms")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--host"]:
        del sys.argv[1]
        host()
    else:
        report(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
