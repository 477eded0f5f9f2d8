"""What a `script:` job costs that is started directly, where users have Snakemake: numpy and pandas, a sample sheet.

    python benchmarks/direct_start.py [--quick]

The peer, in the same run: the interpreter itself, with the file that Snakemake makes of the script. For plain shell
jobs see `short_jobs.py`.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

SCRIPT = """
import pandas as pd
SAMPLES = pd.read_csv("samples.tsv", sep="\\t").set_index("sample", drop=False)
rule all:
    input: expand("out/{sample}", sample=SAMPLES["sample"][:int(config["count"])])
rule a:
    output: "out/{sample}"
    params: unit=lambda wildcards: SAMPLES.loc[wildcards.sample, "unit"]
    script: "script.py"
"""
SCRIPT_FILE = "open(snakemake.output[0], 'w').write(snakemake.params.unit)\n"


@contextmanager
def workflow() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "Snakefile").write_text(SCRIPT)
        (folder / "script.py").write_text(SCRIPT_FILE)
        rows = "".join(f"s{i}\tu{i % 7}\n" for i in range(1000))
        (folder / "samples.tsv").write_text(f"sample\tunit\n{rows}")
        yield folder


def run(folder: Path, count: int, *options: str) -> None:
    for name in ("out", ".snakemake"):
        shutil.rmtree(folder / name, ignore_errors=True)
    command = [sys.executable, "-m", "snakemake", "--quiet", "all", *options, "--config", f"count={count}"]
    subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)


def report(what: str, value: float, unit: str, wanted: str, *, ok: bool) -> None:
    print(f"{what:<72} {value:8.2f} {unit:<6} {wanted:<14} {'yes' if ok else 'NO'}", flush=True)


def script_jobs(count: int) -> None:
    """A script job's CPU against that of the interpreter, which runs the file that Snakemake makes of the script."""
    with workflow() as folder:
        run(folder, count, "--executor", "daskjq", "--jobs", "unlimited")
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
    script_jobs(max(10, count // 20))


if __name__ == "__main__":
    main()
