"""What warm starts save: every figure of the README's section on them, as ratios within one run.

    python benchmarks/warm_start.py [--quick]

Peers: Snakemake's own local executor, and `cluster-generic` with `submit: bash` if it is installed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import warm_phases

SHELL = """
rule all:
    input: expand("out/{i}", i=range(int(config["count"])))
rule a:
    output: "out/{i}"
    shell: "echo {wildcards.i} > {output}"
"""
RUN = SHELL.replace('shell: "echo {wildcards.i} > {output}"', 'run: open(output[0], "w").write(wildcards.i)')
# 50,000 samples, each checked as often as it takes for a parse of PARSE_S seconds of CPU: see `checks`.
HEAVY = (
    """
import json
SAMPLES = json.load(open("samples.json"))
TABLE = {}
for name, sample in SAMPLES.items():
    for _ in range(config["checks"]):
        TABLE[name] = sum(hash((name, key, str(value))) % 7 for key, value in sample.items())
"""
    + SHELL
)
PARSE_S = 5.0
ROUNDS = 3
HOLD = """
rule all:
    input: expand("out/{i}", i=range(8))
rule a:
    output: "out/{i}"
    shell: "touch up{wildcards.i}; while [ ! -e go ]; do sleep 0.1; done; touch {output}"
"""
OUTPUT = subprocess.DEVNULL
UNLIMITED = ("--max-jobs-per-timespan", "1000000/1s")  # Snakemake's default is 100 jobs a second


def snakemake(folder: Path, *arguments: str) -> float:
    """Wall seconds of a run in a clean folder."""
    for name in ("out", ".snakemake"):
        shutil.rmtree(folder / name, ignore_errors=True)
    start = time.monotonic()
    command = [sys.executable, "-m", "snakemake", "--quiet", "all", *UNLIMITED, *arguments]
    subprocess.run(command, cwd=folder, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=OUTPUT)
    return time.monotonic() - start


def daskjq(folder: Path, count: int, level: str, more: Sequence[str] = ()) -> tuple[float, list[dict[str, Any]]]:
    """Wall seconds, and the journal's `job_ended` events. `more` follows the values of `--config`."""
    wall_s = snakemake(
        folder, "--executor", "daskjq", "--jobs", "unlimited", "--daskjq-warm-start", level, *config(count), *more
    )
    (journal,) = folder.glob(".snakemake/daskjq/runs/*/journal.jsonl")
    events = [json.loads(line) for line in journal.read_text().splitlines()]
    return wall_s, [event for event in events if event["event"] == "job_ended"]


def config(count: int) -> tuple[str, str]:
    return "--config", f"count={count}"


@contextmanager
def workflow(snakefile: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "Snakefile").write_text(snakefile)
        yield Path(folder)


def report(what: str, value: float, unit: str, wanted: str, ok: bool) -> None:
    print(f"{what:<72} {value:8.2f} {unit:<6} {wanted:<18} {'yes' if ok else 'NO'}", flush=True)


def cpu_per_job(jobs: int) -> None:
    """The levels take turns, so that a slower spell of the machine is in all of them."""
    cpu_s: dict[str, list[float]] = {"off": [], "import": [], "workflow": []}
    with workflow(SHELL) as folder:
        for _ in range(ROUNDS):
            for level, found in cpu_s.items():
                count = jobs // ROUNDS
                _, ended = daskjq(folder, max(6, count // 10) if level == "off" else count, level)
                found += [event["cpu_s"] for event in ended]
    median_s = {level: statistics.median(found) for level, found in cpu_s.items()}
    for level, found in cpu_s.items():
        print(f"  CPU of a trivial shell job at {level}: {1000 * median_s[level]:.1f} ms (median of {len(found)})")
    for level, factor in (("import", 15), ("workflow", 60)):
        ratio = median_s["off"] / median_s[level]
        report(f"CPU of a cold job / at {level}", ratio, "times", f"at least {factor}", ratio >= factor)
    report("CPU of a job at workflow", 1000 * median_s["workflow"], "ms", "under 25", median_s["workflow"] < 0.025)


def wall_of_many(jobs: int) -> None:
    with workflow(SHELL) as folder:
        ours, _ = daskjq(folder, jobs, "workflow")
        local = snakemake(folder, "--executor", "local", "--cores", "2", *config(jobs))
        print(f"  {jobs} trivial jobs: daskjq {ours:.1f} s, local -c2 {local:.1f} s")
        report(f"wall of {jobs} jobs / local executor -c2", ours / local, "times", "at most 1.0", ours <= local)
        few = max(8, jobs // 50)
        try:
            generic = snakemake(
                folder,
                *("--executor", "cluster-generic", "--cluster-generic-submit-cmd", "bash", "--jobs", "2"),
                *("--seconds-between-status-checks", "1"),
                *config(few),
            )
        except subprocess.CalledProcessError:
            print("  cluster-generic is not installed: not compared")
            return
        ratio = (generic / few) / (ours / jobs)
        print(f"  {few} jobs with cluster-generic: {generic:.1f} s")
        report("wall per job: cluster-generic / ours", ratio, "times", "at least 20", ratio >= 20)


def wall_of_run_rules(jobs: int) -> None:
    with workflow(RUN) as folder:
        ours, _ = daskjq(folder, jobs, "workflow")
        local = snakemake(folder, "--executor", "local", "--cores", "2", *config(jobs))
        print(f"  {jobs} run: jobs: daskjq {ours:.1f} s, local -c2 {local:.1f} s")
        report(f"wall of {jobs} run: jobs / local executor -c2", ours / local, "times", "under 1.0", ours < local)


def checks(samples: dict[str, dict[str, Any]]) -> int:
    """How often each sample is checked for a parse of `PARSE_S` seconds on this machine."""
    start = time.process_time()
    for name, sample in samples.items():
        for _ in range(4):
            sum(hash((name, key, str(value))) % 7 for key, value in sample.items())
    return max(1, round(4 * PARSE_S / (time.process_time() - start)))


def heavy_parse() -> None:
    with workflow(HEAVY) as folder:
        samples = {f"sample{i}": {"path": f"/data/{i}.fq", "group": i % 7} for i in range(50_000)}
        (folder / "samples.json").write_text(json.dumps(samples))
        more = (f"checks={checks(samples)}", "--daskjq-cores", "1")
        _, cold = daskjq(folder, 1, "off", more=more)
        _, warm = daskjq(folder, 4, "workflow", more=more)
        parse_s = cold[0]["cpu_s"]
        second_s = max(event["cpu_s"] for event in warm[1:])
        print(f"  heavy Snakefile: cold job {parse_s:.2f} s of CPU, later ones on a pilot {1000 * second_s:.0f} ms")
        report(
            "heavy parse: CPU of a later job / of a cold job",
            second_s / parse_s,
            "",
            "under 0.05",
            second_s < 0.05 * parse_s,
        )


def memory() -> None:
    with workflow(HOLD) as folder:
        command = [sys.executable, "-m", "snakemake", "--quiet", "all", "--executor", "daskjq", "--jobs", "8"]
        with subprocess.Popen([*command, "--daskjq-cores", "8"], cwd=folder, stdin=subprocess.DEVNULL) as process:
            while len(list(folder.glob("up*"))) < 8:
                time.sleep(0.1)
            below = psutil.Process(process.pid).children(recursive=True)
            (pilot,) = [p for p in below if "snakemake_executor_daskjq.pilot.process" in p.cmdline()]
            (host,) = pilot.children()
            # Snakemake's processes only: the host and its forks, not the shells that the rules run.
            forks = [host, *(p for p in host.children() if p.cmdline() == host.cmdline())]
            pss_mb = sum(p.memory_full_info().pss for p in forks) / 1e6
            (folder / "go").touch()
    report(f"memory of a host and {len(forks) - 1} children (PSS)", pss_mb, "MB", "under 300", pss_mb < 300)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the jobs")
    part = 10 if parser.parse_args().quick else 1
    cpu_per_job(200 // part)
    warm_phases.report(200 // part)
    wall_of_many(1000 // part)
    wall_of_run_rules(200 // part)
    heavy_parse()
    memory()


if __name__ == "__main__":
    main()
