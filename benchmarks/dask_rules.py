"""Rules that are Dask computations: threads against processes, and spilling against being killed.

    python benchmarks/dask_rules.py [--quick]

Each computation runs as a rule of 2 threads under daskjq on this machine (which should have two cores for it): numeric
code (NumPy releases Python's lock) and pure Python, each with a worker of two threads and with two workers of one.
Times are of the computation, the median of five, measured in the rule on a cluster that is up; memory is the peak of
all processes of the job together, as daskjq samples it. Then data of twice the rule's memory, with `dask_client`, with
a plain `LocalCluster`, and with a plain one that sees the whole machine, as it does without daskjq's environment.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snakemake_executor_daskjq.journal import journal

SNAKEFILE = """
WORK = {"numeric": ["threads", "processes"], "python": ["threads", "processes"]}
rule all:
    input: [f"{work}-{shape}" for work, shapes in WORK.items() for shape in shapes]
rule compute:
    output: "{work}-{shape}"
    threads: 2
    resources: mem_mb=4000
    script: "compute.py"
rule spill:
    output: "spill/{how}"
    threads: 2
    resources: mem_mb=1500
    script: "spill.py"
"""
COMPUTE = """
import statistics
import time
import numpy as np
from snakemake_executor_daskjq.rules import dask_client

def numeric(i):
    matrix = np.random.default_rng(i).random((800, 800))
    for _ in range(6):
        matrix = matrix @ matrix
        matrix /= np.linalg.norm(matrix)
    return float(matrix[0, 0])

def python(i):
    total = 0
    for number in range(1_000_000):
        total += (number * i) % 7
    return float(total)

work = {"numeric": numeric, "python": python}[snakemake.wildcards.work]
with dask_client(snakemake, shape=snakemake.wildcards.shape) as client:
    client.run(lambda: __import__("numpy"))
    times = []
    for _ in range(5):
        start = time.monotonic()
        total = sum(client.gather(client.map(work, range(24), pure=False)))
        times.append(time.monotonic() - start)
    elapsed = statistics.median(times)
open(snakemake.output[0], "w").write(f"{elapsed} {total}")
"""
SPILL = """
import numpy as np
import psutil
from dask.distributed import Client, LocalCluster

def chunk(i):
    return np.full(2_500_000, i, dtype=float)

def client_of(how):
    if how == "helper":
        from snakemake_executor_daskjq.rules import dask_client
        return dask_client(snakemake)
    if how == "blind":  # what Dask finds where nobody shows it the job's share
        import distributed.system
        distributed.system.MEMORY_LIMIT = psutil.virtual_memory().total
    return Client(LocalCluster(n_workers=snakemake.threads, dashboard_address=None))

if __name__ == "__main__":
    with client_of(snakemake.wildcards.how) as client:
        chunks = client.map(chunk, range(150))
        total = sum(client.gather(client.map(np.sum, chunks)))
    open(snakemake.output[0], "w").write(f"{total:.0f}")
"""
SPILLED_TOTAL = str(sum(range(150)) * 2_500_000)
RUNS = ".snakemake/daskjq/runs/*/journal.jsonl"
HOW = ("helper", "plain", "blind")


def run(folder: Path, *targets: str) -> dict[str, dict[str, Any]]:
    """How the job of each target ended: its `job_ended` in the journal. One at a time, for they are compared."""
    ends = {}
    for target in targets:
        command = [sys.executable, "-m", "snakemake", "--quiet", "all", "--executor", "daskjq", "--jobs", "1", target]
        before = set(folder.glob(RUNS))
        subprocess.run(command, cwd=folder, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        (own,) = set(folder.glob(RUNS)) - before
        (ends[target],) = (event for event in journal.read(own) if event["event"] == "job_ended")
    return ends


def report(what: str, value: float, wanted: str, *, ok: bool) -> None:
    print(f"{what:<76} {value:8.2f}  {wanted:<16} {'yes' if ok else 'NO'}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="without the comparison of threads and processes")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, text in (("Snakefile", SNAKEFILE), ("compute.py", COMPUTE), ("spill.py", SPILL)):
            (folder / file).write_text(text)
        if not options.quick:
            compare(folder)
        spill(folder)


def compare(folder: Path) -> None:
    targets = [f"{work}-{shape}" for work in ("numeric", "python") for shape in ("threads", "processes")]
    ends = run(folder, *targets)
    seconds = {target: float((folder / target).read_text().split()[0]) for target in targets}
    memory = {target: ends[target]["peak_mem_mb"] for target in targets}
    for target in targets:
        print(f"  {target:<20} {seconds[target]:6.2f} s, {memory[target]:5.0f} MB")
    ratio = seconds["python-threads"] / seconds["python-processes"]
    report("pure Python: time with threads / with processes", ratio, "at least 1.5", ok=ratio >= 1.5)
    ratio = seconds["numeric-threads"] / seconds["numeric-processes"]
    report("numeric: time with threads / with processes", ratio, "at most 1.15", ok=ratio <= 1.15)
    ratio = memory["numeric-threads"] / memory["numeric-processes"]
    report("numeric: memory with threads / with processes", ratio, "below 1", ok=ratio < 1)


def spill(folder: Path) -> None:
    ends = run(folder, *(f"spill/{how}" for how in HOW))
    for how in HOW:
        end = ends[f"spill/{how}"]
        spilled = sum(json.loads(line)["spilled_mb"] for line in end["dask"].splitlines())
        more = f", {spilled} MB spilled" if spilled else ""
        print(f"  3000 MB of data in 1500 MB, {how:<8} {end['end']}, peak {end['peak_mem_mb']:.0f} MB{more}")
        right = end["end"] == "succeeded" and (folder / f"spill/{how}").read_text() == SPILLED_TOTAL
        wanted = "is killed" if how == "blind" else "ends right"
        report(f"peak of the job / its memory, {how}", end["peak_mem_mb"] / 1500, wanted, ok=right is (how != "blind"))


if __name__ == "__main__":
    main()
