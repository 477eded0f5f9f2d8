"""What direct starts cost, where users have Snakemake: numpy and pandas installed, a sample sheet read by pandas.

    python benchmarks/direct_start.py [--quick]

Peers, in the same run: Snakemake's own local executor, and the interpreter itself for a `script:` job.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

SHELL = """
import pandas as pd
SAMPLES = pd.read_csv("samples.tsv", sep="\\t").set_index("sample", drop=False)
rule all:
    input: expand("out/{sample}", sample=SAMPLES["sample"][:int(config["count"])])
rule a:
    output: "out/{sample}"
    params: unit=lambda wildcards: SAMPLES.loc[wildcards.sample, "unit"]
    shell: "echo {params.unit} > {output}"
"""
SCRIPT = SHELL.replace('shell: "echo {params.unit} > {output}"', 'script: "script.py"')
SCRIPT_FILE = "open(snakemake.output[0], 'w').write(snakemake.params.unit)\n"
UNLIMITED = ("--jobs", "unlimited", "--max-jobs-per-timespan", "1000000/1s")
PARTS = {"daskjq.controller": "controller", "daskjq.pilot.process": "pilot", "daskjq.launcher.launcher": "launcher"}


@contextmanager
def workflow(snakefile: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "Snakefile").write_text(snakefile)
        (folder / "script.py").write_text(SCRIPT_FILE)
        rows = "".join(f"s{i}\tu{i % 7}\n" for i in range(1000))
        (folder / "samples.tsv").write_text(f"sample\tunit\n{rows}")
        yield folder


def run(folder: Path, count: int, *options: str) -> tuple[float, dict[str, float]]:
    """Wall seconds, and CPU seconds by part (`PARTS`); jobs are reaped by the launcher."""
    for name in ("out", ".snakemake"):
        shutil.rmtree(folder / name, ignore_errors=True)
    command = [sys.executable, "-m", "snakemake", "--quiet", "all", *options, "--config", f"count={count}"]
    start = time.monotonic()
    process = psutil.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    seen: dict[psutil.Process, dict[str, float]] = {}
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):
            for one in (process, *process.children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    seen[one] = used(one, is_main=one.pid == process.pid)
        time.sleep(0.05)
    wall_s = time.monotonic() - start
    if process.returncode != 0:
        raise SystemExit(f"{command} failed")
    parts: dict[str, float] = {}
    for one in seen.values():
        for part, cpu_s in one.items():
            parts[part] = parts.get(part, 0.0) + cpu_s
    return wall_s, parts


def used(process: psutil.Process, *, is_main: bool) -> dict[str, float]:
    times = process.cpu_times()
    own = times.user + times.system
    if is_main:
        return {"main process": own}
    command = " ".join(process.cmdline())
    part = next((part for module, part in PARTS.items() if module in command), "")
    if part == "launcher":
        return {part: own, "jobs": times.children_user + times.children_system}
    return {part: own} if part else {}


def per_job_ms(folder: Path, count: int, few: int) -> dict[str, float]:
    """CPU of a job by part, without what a run costs in any case: the difference to a run of few jobs."""
    _, start = run(folder, few, "--executor", "daskjq", *UNLIMITED)
    _, all_ = run(folder, count, "--executor", "daskjq", *UNLIMITED)
    return {part: 1000 * (cpu_s - start.get(part, 0.0)) / (count - few) for part, cpu_s in all_.items()}


def report(what: str, value: float, unit: str, wanted: str, *, ok: bool) -> None:
    print(f"{what:<72} {value:8.2f} {unit:<6} {wanted:<14} {'yes' if ok else 'NO'}", flush=True)


def shell_jobs(count: int) -> None:
    with workflow(SHELL) as folder:
        parts = per_job_ms(folder, count, count // 10)
        for part, cpu_ms in parts.items():
            print(f"  CPU of a plain shell job, {part}: {cpu_ms:.2f} ms")
        job_ms = parts["jobs"] + parts["launcher"]
        report("CPU of a plain shell job, launcher included", job_ms, "ms", "at most 8", ok=job_ms <= 8)
        job_ms += parts["pilot"]
        report("the same with the pilot's Dask worker", job_ms, "ms", "at most 8", ok=job_ms <= 8)
        ours, _ = run(folder, count, "--executor", "daskjq", *UNLIMITED)
        local, _ = run(folder, count, "--cores", "2")
        print(f"  wall time of {count} shell jobs: {ours:.1f} s, under the local executor {local:.1f} s")
        report(f"wall time of {count} shell jobs / local -c2", ours / local, "", "at most 0.6", ok=ours / local <= 0.6)


def script_jobs(count: int) -> None:
    """A script job's CPU against that of the interpreter, which runs the file that Snakemake makes of the script."""
    with workflow(SCRIPT) as folder:
        run(folder, count, "--executor", "daskjq", *UNLIMITED)
        (journal,) = folder.glob(".snakemake/daskjq/runs/*/journal.jsonl")
        ended = [json.loads(line) for line in journal.read_text().splitlines() if '"job_ended"' in line]
        job_s = statistics.median(event["cpu_s"] for event in ended)
        run(folder, 1, "--cores", "1", "--skip-script-cleanup")
        (script,) = folder.glob(".snakemake/scripts/*.py")
        alone_s = statistics.median(interpreter_s(folder, script) for _ in range(count))
    print(f"  CPU of a script job {1000 * job_s:.0f} ms, of the interpreter alone {1000 * alone_s:.0f} ms")
    ratio = job_s / alone_s
    report("CPU of a Python script job / the interpreter alone", ratio, "", "at most 1.15", ok=ratio <= 1.15)


def interpreter_s(folder: Path, script: Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, str(script)], cwd=folder, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the jobs")
    count = 100 if parser.parse_args(arguments).quick else 1000
    versions = {name: importlib.metadata.version(name) for name in ("snakemake", "distributed", "numpy", "pandas")}
    print(f"{os.cpu_count()} CPUs; {', '.join(f'{name} {version}' for name, version in versions.items())}")
    shell_jobs(count)
    script_jobs(max(10, count // 20))


if __name__ == "__main__":
    main()
