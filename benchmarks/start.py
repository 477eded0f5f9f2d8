"""How soon the first job starts, against another checkout of daskjq, as users run it: pandas in the Snakefile.

    python benchmarks/start.py --parent FOLDER [--runs N]

Runs of the two checkouts alternate. Measured are the seconds from the executor's first jobs to the start of the first
job's process, and those from the start of Snakemake; medians, and their ratio.
"""

from __future__ import annotations

import argparse
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


def measure(checkout: Path, folder: Path) -> tuple[float, float]:
    """Seconds to the first job's start, from the hand-over of the first jobs and from the start of Snakemake."""
    for name in ("out", ".snakemake"):
        shutil.rmtree(folder / name, ignore_errors=True)
    command = [sys.executable, "-m", "snakemake", "--quiet", "all", "--executor", "daskjq", "--jobs", "4"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder / "hook"), str(checkout)])}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed has bytecode
    begun = time.time()
    subprocess.run(command, cwd=folder, env=env, check=True, stdin=subprocess.DEVNULL)
    (journal,) = folder.glob(".snakemake/daskjq/runs/*/journal.jsonl")
    ended = [json.loads(line) for line in journal.read_text().splitlines() if '"job_ended"' in line]
    first = min(event["started_at"] for event in ended)
    return first - float((folder / "handed_over").read_text()), first - begun


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parent", type=Path, required=True, metavar="FOLDER", help="the other checkout")
    parser.add_argument("--runs", type=int, default=15, help="of each checkout")
    options = parser.parse_args(arguments)
    checkouts = {"this": HERE, "the other": options.parent.absolute()}
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in checkouts}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "Snakefile").write_text(SNAKEFILE)
        (folder / "hook").mkdir()
        (folder / "hook" / "sitecustomize.py").write_text(HOOK)
        for checkout in checkouts.values():
            measure(checkout, folder)  # bytecode is written, files are read
        for _ in range(options.runs):
            for which, checkout in checkouts.items():
                measured[which].append(measure(checkout, folder))
    for number, what in enumerate(("the first jobs' hand-over", "the start of Snakemake")):
        ours, theirs = (statistics.median(one[number] for one in runs) for runs in measured.values())
        least = " / ".join(f"{min(one[number] for one in runs):.2f}" for runs in measured.values())
        print(f"from {what} to the first job's start: {ours:.2f} s, there {theirs:.2f} s (least {least}); ", end="")
        print(f"ratio {ours / theirs:.2f}", flush=True)


if __name__ == "__main__":
    main()
