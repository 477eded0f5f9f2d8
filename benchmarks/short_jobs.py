"""What thousands of trivial shell jobs cost, where users have Snakemake: numpy, pandas, a sample sheet, other plugins.

    python benchmarks/short_jobs.py [--quick] [--jobs N ...] [--shape alone|chains|fan] [--no-peers] [--slurm]

Peers, in the same run: Snakemake's local executor; an executor that only touches the outputs (`controller.NULL`), which
is what Snakemake itself takes; and HyperQueue (`pip install hyperqueue`), which runs the bare commands. CPU is that of
all processes of a run; of a job it is the difference to a run of a tenth of the jobs, without what a run costs in any
case. Wall times are whole. Memory is the peak of the resident set. With `--jobs 10000 100000` larger runs are
compared with 1,000 jobs, too. With `--slurm` pilots are batch jobs of a real Slurm with four virtual nodes, which is
brought up for it (as root, with Debian's slurm-wlm and munge).
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import controller
import psutil

HEAD = """
import pandas as pd
SAMPLES = pd.read_csv("samples.tsv", sep="\\t")["sample"][:int(config["count"])]
"""
SHAPES = {
    "alone": """
rule all:
    input: expand("out/{sample}", sample=SAMPLES)
rule a:
    output: "out/{sample}"
    shell: "echo {wildcards.sample} > {output}"
""",
    "chains": """
rule all:
    input: expand("out/{sample}", sample=SAMPLES[:len(SAMPLES) // 2])
rule b:
    input: "mid/{sample}"
    output: "out/{sample}"
    shell: "cat {input} > {output}"
rule a:
    output: "mid/{sample}"
    shell: "echo {wildcards.sample} > {output}"
""",
    "fan": """
rule all:
    input: expand("out/{sample}", sample=SAMPLES)
rule first:
    output: "first"
    shell: "echo > {output}"
rule a:
    input: "first"
    output: "out/{sample}"
    shell: "echo {wildcards.sample} > {output}"
""",
}
QUICK_START = ("--executor", "daskjq", "--jobs", "unlimited")
ON_SLURM = (
    *("--daskjq-system", "slurm", "--daskjq-interface", "lo", "--daskjq-walltime", "00:30:00"),
    *("--daskjq-cores", "1", "--daskjq-memory", "3GB", "--daskjq-max-pilots", "4", "--default-resources", "runtime=5"),
)
"""A core each: the four virtual nodes share this machine."""
NULL = ("--executor", "null", "--jobs", "unlimited")
UNLIMITED = ("--max-jobs-per-timespan", "1000000/1s", "--scheduler", "greedy")
PARTS = {"daskjq.controller": "controller", "daskjq.pilot.process": "pilot", "daskjq.launcher.launcher": "launcher"}
SAMPLE_S = 0.1
BARE, BARE_MS = 300, 1.8

HYPERQUEUE = """
import sys
from hyperqueue import Job, LocalCluster
from hyperqueue.cluster import WorkerConfig
with LocalCluster() as cluster:
    cluster.start_worker(WorkerConfig(cores=2))
    job = Job()
    for i in range(int(sys.argv[1])):
        command = f"set -euo pipefail; echo s{i} > out/s{i}"
        job.program(["bash", "-c", command], cwd=".", stdout=None, stderr=None)
    client = cluster.client()
    client.wait_for_jobs([client.submit(job)])
"""


class Run:
    """What a run has used.

    Attributes
    ----------
    wall_s : from its start to its end.
    cpu_s : CPU seconds by part (`PARTS`, and `main process`, `jobs`).
    peak_mb : by part.
    """

    def __init__(self, folder: Path, command: Sequence[str]) -> None:
        for name in ("out", "mid", ".snakemake"):
            shutil.rmtree(folder / name, ignore_errors=True)
        (folder / "first").unlink(missing_ok=True)
        (folder / "out").mkdir()
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder / "plugins"), os.environ.get("PYTHONPATH", "")])}
        self._others: dict[psutil.Process, bool] = {}
        self._seen: dict[psutil.Process, dict[str, float]] = {}
        self.peak_mb: dict[str, float] = {}
        start = time.monotonic()
        process = psutil.Popen(
            command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while process.poll() is None:
            with contextlib.suppress(psutil.Error):
                for one in self._processes(process):
                    with contextlib.suppress(psutil.Error):
                        self._look(one, is_main=one.pid == process.pid)
            time.sleep(SAMPLE_S)
        self.wall_s = time.monotonic() - start
        if process.returncode != 0:
            raise SystemExit(f"{command} failed")
        self.cpu_s: dict[str, float] = {}
        for parts in self._seen.values():
            for part, cpu_s in parts.items():
                self.cpu_s[part] = self.cpu_s.get(part, 0.0) + cpu_s

    def _processes(self, main: psutil.Process) -> list[psutil.Process]:
        """The run's own; where there is a Slurm, pilots are none of its descendants."""
        if "SLURM_CONF" not in os.environ:
            return [main, *main.children(recursive=True)]
        for one in psutil.process_iter():
            if one not in self._others:
                with contextlib.suppress(psutil.Error):
                    self._others[one] = any(part in " ".join(one.cmdline()) for part in PARTS)
        return [main, *(one for one, is_part in self._others.items() if is_part)]

    def _look(self, process: psutil.Process, *, is_main: bool) -> None:
        times = process.cpu_times()
        command = " ".join(process.cmdline())
        part = "main process" if is_main else next((part for name, part in PARTS.items() if name in command), "")
        if part:
            self._seen[process] = {part: times.user + times.system}
            self.peak_mb[part] = max(self.peak_mb.get(part, 0.0), process.memory_info().rss / 1e6)
        if part == "launcher":  # which reaps the jobs
            self._seen[process]["jobs"] = times.children_user + times.children_system


@contextmanager
def workflow(shape: str, most: int) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "Snakefile").write_text(HEAD + SHAPES[shape])
        (folder / "hq.py").write_text(HYPERQUEUE)
        (folder / "samples.tsv").write_text("sample\n" + "".join(f"s{i}\n" for i in range(most)))
        (folder / "plugins" / "snakemake_executor_plugin_null").mkdir(parents=True)
        (folder / "plugins" / "snakemake_executor_plugin_null" / "__init__.py").write_text(controller.NULL)
        yield folder


def snakemake(folder: Path, count: int, *options: str) -> Run:
    command = [sys.executable, "-m", "snakemake", "--quiet", "all", *options, "--config", f"count={count}"]
    run = Run(folder, command)
    made = len(list((folder / "out").iterdir())) + len(list(folder.glob("mid/*")))
    assert made == count, (made, count)
    return run


def per_job_ms(few: Run, many: Run, jobs: int) -> dict[str, float]:
    """CPU of one of the `jobs` more, by part."""
    return {part: 1000 * (cpu_s - few.cpu_s.get(part, 0.0)) / jobs for part, cpu_s in many.cpu_s.items()}


def bare_command_ms(folder: Path) -> float:
    """CPU of the command of a job where nobody is in between, in the mean."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(BARE):
        subprocess.run(["/bin/bash", "-c", "set -euo pipefail; echo s > bare"], cwd=folder, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / BARE


def report(what: str, value: float, unit: str, wanted: str, *, ok: bool) -> None:
    print(f"{what:<76} {value:8.2f} {unit:<4} {wanted:<14} {'yes' if ok else 'NO'}", flush=True)


def beside_peers(folder: Path, count: int, daskjq: Sequence[str]) -> None:
    """Wall times of `count` jobs under daskjq and its peers."""
    ours = snakemake(folder, count, *daskjq).wall_s
    local = snakemake(folder, count, "--cores", "2").wall_s
    print(f"  wall time of {count} jobs: {ours:.1f} s; under the local executor (-c2) {local:.1f} s")
    report(f"wall time of {count} jobs / local -c2", ours / local, "", "at most 0.35", ok=ours / local <= 0.35)
    null, null_unlimited = snakemake(folder, count, *NULL).wall_s, snakemake(folder, count, *NULL, *UNLIMITED).wall_s
    hyperqueue = Run(folder, [sys.executable, "hq.py", str(count)]).wall_s
    print(f"  only touching outputs {null:.1f} s, without a rate {null_unlimited:.1f} s; HyperQueue {hyperqueue:.1f} s")
    ratio = ours / (null + hyperqueue)
    report("the same / (only touching the outputs + HyperQueue)", ratio, "", "at most 1", ok=ratio <= 1)
    ratio = ours / (null_unlimited + hyperqueue)
    report("the same / (only touching, without a rate, + HyperQueue)", ratio, "", "at most 1", ok=ratio <= 1)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the first 1,000 jobs")
    parser.add_argument("--jobs", type=int, nargs="*", default=[], metavar="N", help="larger runs, beside 1,000 jobs")
    parser.add_argument("--shape", choices=SHAPES, default="alone")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--slurm", action="store_true", help="pilots in a real Slurm")
    options = parser.parse_args(arguments)
    if options.slurm:
        sys.path.insert(0, str(Path(__file__).parents[1]))
        from tests.batch.slurm import SlurmCluster

        with SlurmCluster() as cluster:
            os.environ.update(cluster.env)
            measure(options, (*QUICK_START, *ON_SLURM))
    else:
        measure(options, QUICK_START)


def measure(options: argparse.Namespace, daskjq: Sequence[str]) -> None:
    count = 100 if options.quick else 1000
    versions = {name: importlib.metadata.version(name) for name in ("snakemake", "distributed", "numpy", "pandas")}
    print(f"{os.cpu_count()} CPUs; {', '.join(f'{name} {version}' for name, version in versions.items())}")
    with workflow(options.shape, max([count, *options.jobs])) as folder:
        few = snakemake(folder, count // 10, *daskjq)
        first = per_job_ms(few, snakemake(folder, count, *daskjq), count - count // 10)
        for part, cpu_ms in first.items():
            print(f"  CPU of a job of {count}, {part}: {cpu_ms:.2f} ms")
        all_ms = sum(first.values())
        bare_ms = bare_command_ms(folder)
        print(f"  CPU of the bare command in the same minute: {bare_ms:.2f} ms ({BARE_MS} where 12 ms were asked for)")
        report(f"CPU of a job of {count}", all_ms, "ms", "at most 12", ok=all_ms <= 12)
        scaled_ms = all_ms * BARE_MS / bare_ms
        report("the same, on a machine as fast as that", scaled_ms, "ms", "at most 12", ok=scaled_ms <= 12)
        if not options.no_peers:
            beside_peers(folder, count, daskjq)
        for more in options.jobs:
            run = snakemake(folder, more, *daskjq)
            cpu_ms = per_job_ms(few, run, more - count // 10)
            for part in cpu_ms:
                peak = f"; peak {run.peak_mb[part]:.0f} MB" if part in run.peak_mb else ""
                print(f"  CPU of a job of {more}, {part}: {cpu_ms[part]:.2f} ms{peak}")
            rate, ratio = more / run.wall_s, sum(cpu_ms.values()) / all_ms
            report(f"{more} jobs, with the start", rate, "/s", "at least 100", ok=rate >= 100)
            report(f"CPU of a job of {more} / of {count}", ratio, "", "at most 1.3", ok=ratio <= 1.3)


if __name__ == "__main__":
    main()
