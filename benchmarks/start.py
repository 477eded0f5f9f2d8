"""How soon the first job starts, as users run it, with pandas in the Snakefile: against another checkout of daskjq, or

    python benchmarks/start.py --parent FOLDER [--runs N]

of a run that finds pilots of an earlier one (`--daskjq-keep`), against one that has its own:

    python benchmarks/start.py --kept [--runs N]

Runs of the two alternate. Measured are the seconds from the executor's first jobs to the start of the first
job's process, and those from the start of Snakemake; medians, and their ratio.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parents[1]

SNAKEFILE = """
import pandas as pd
SAMPLES = pd.DataFrame({"sample": [f"s{i}" for i in range(4)]})
rule all:
    input: expand("out/{sample}", sample=SAMPLES["sample"])
rule a:
    output: "out/{sample}"
    shell: "touch {output}"
"""

# Read by each Python before anything else: notes when Snakemake hands over the first jobs.
HOOK = """
import sys
if "--executor" in sys.orig_argv:
    import snakemake.api, time
    from snakemake_executor_daskjq.executor import Executor
    run_jobs = Executor.run_jobs
    def first(executor, jobs):
        Executor.run_jobs = run_jobs
        with open("handed_over", "w") as file:
            file.write(str(time.time()))
        return run_jobs(executor, jobs)
    Executor.run_jobs = first
"""


def measure(checkout: Path, folder: Path, *options: str) -> tuple[float, float]:
    """Seconds to the first job's start, from the hand-over of the first jobs and from the start of Snakemake."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    command = [sys.executable, "-m", "snakemake", "--quiet", "all", "--executor", "daskjq", "--jobs", "4", *options]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder / "hook"), str(checkout)])}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed has bytecode
    begun = time.time()
    subprocess.run(command, cwd=folder, env=env, check=True, stdin=subprocess.DEVNULL)
    journal = max(folder.glob(".snakemake/daskjq/runs/*/journal.jsonl"))
    ended = [json.loads(line) for line in journal.read_text().splitlines() if '"job_ended"' in line]
    first = min(event["started_at"] for event in ended)
    return first - float((folder / "handed_over").read_text()), first - begun


def workflow(folder: Path) -> Path:
    (folder / "hook").mkdir(parents=True)
    (folder / "Snakefile").write_text(SNAKEFILE)
    (folder / "hook" / "sitecustomize.py").write_text(HOOK)
    return folder


def stop(folder: Path) -> None:
    command = [sys.executable, "-m", "snakemake_executor_daskjq.cli", "stop"]
    subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": str(HERE)}, check=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    against = parser.add_mutually_exclusive_group(required=True)
    against.add_argument("--parent", type=Path, metavar="FOLDER", help="the other checkout")
    against.add_argument("--kept", action="store_true", help="this checkout: pilots that were kept against own ones")
    parser.add_argument("--runs", type=int, default=15, help="of each")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        one, other = workflow(Path(name) / "one"), workflow(Path(name) / "other")
        keep = ["--daskjq-keep", "10m"] if asked.kept else []
        ours = functools.partial(measure, HERE, one, *keep)
        theirs = functools.partial(measure, HERE if asked.kept else asked.parent.absolute(), other)
        try:
            for first in (ours, theirs):
                first()  # bytecode is written, files are read; or pilots are there
            measured = [(ours(), theirs()) for _ in range(asked.runs)]
        finally:
            if asked.kept:
                stop(one)
    for number, what in enumerate(("the first jobs' hand-over", "the start of Snakemake")):
        times = [[one[number] for one in runs] for runs in zip(*measured, strict=True)]
        this, there = map(statistics.median, times)
        least = " / ".join(f"{min(one):.2f}" for one in times)
        print(f"from {what} to the first job's start: {this:.2f} s, there {there:.2f} s (least {least}); ", end="")
        print(f"ratio {this / there:.2f}", flush=True)


if __name__ == "__main__":
    main()
