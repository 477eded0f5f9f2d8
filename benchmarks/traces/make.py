"""Writes the traces of this folder: synthetic workflows in WfCommons' WfFormat 1.5.

Not measured anywhere. Each has the shape of a well-known workflow (which kinds of tasks there are, what waits for
what, which kinds are short, long, or need memory), with seconds and memory drawn from a fixed seed. Real traces
in the same format (github.com/wfcommons/WfInstances) can be given to `replay.py` instead.

    python benchmarks/traces/make.py
"""

from __future__ import annotations

import json
import random
from pathlib import Path

FOLDER = Path(__file__).parent


class Trace:
    def __init__(self, name: str) -> None:
        self.name = name
        self.random = random.Random(name)
        self.tasks: list[dict[str, object]] = []
        self.runs: list[dict[str, object]] = []

    def add(
        self, kind: str, seconds: float, parents: list[str] | None = None, cores: int = 1, memory_mb: int = 500
    ) -> str:
        """One task; its seconds and memory vary by a third around what is given."""
        task = f"{kind}_{len(self.tasks):05d}"
        self.tasks.append({"name": kind, "id": task, "parents": parents or [], "children": []})
        self.runs.append(
            {
                "id": task,
                "runtimeInSeconds": round(seconds * self.random.uniform(0.67, 1.33), 2),
                "coreCount": cores,
                "memoryInBytes": int(memory_mb * 1e6 * self.random.uniform(0.67, 1.33)),
            }
        )
        return task

    def write(self) -> None:
        by_id = {task["id"]: task for task in self.tasks}
        for task in self.tasks:
            for parent in task["parents"]:  # type: ignore[attr-defined]
                by_id[parent]["children"].append(task["id"])  # type: ignore[attr-defined]
        workflow = {"specification": {"tasks": self.tasks, "files": []}, "execution": {"tasks": self.runs}}
        trace = {
            "name": f"{self.name}-like",
            "description": "synthetic: drawn by benchmarks/traces/make.py, not measured",
            "schemaVersion": "1.5",
            "workflow": workflow,
        }
        (FOLDER / f"{self.name}.json").write_text(json.dumps(trace, separators=(",", ":")) + "\n")


def montage() -> Trace:
    """Images are projected, each overlap is fitted, all fits give one model, by which each image is corrected."""
    trace = Trace("montage")
    projected = [trace.add("mProject", 60, memory_mb=800) for _ in range(180)]
    fits = [
        trace.add("mDiffFit", 12, [projected[i], projected[(i + step) % len(projected)]])
        for i in range(len(projected))
        for step in (1, 7, 13)
    ]
    concat = trace.add("mConcatFit", 20, fits)
    model = trace.add("mBgModel", 60, [concat], cores=4, memory_mb=4000)
    corrected = [trace.add("mBackground", 20, [image, model]) for image in projected]
    table = trace.add("mImgtbl", 10, corrected)
    mosaic = trace.add("mAdd", 90, [table], cores=8, memory_mb=16000)
    trace.add("mViewer", 30, [mosaic], memory_mb=4000)
    return trace


def epigenomics() -> Trace:
    """Independent chains of filtering and mapping for each chunk of each lane, merged by lane."""
    trace = Trace("epigenomics")
    merged = []
    for _ in range(4):
        split = trace.add("fastqSplit", 30)
        mapped = []
        for _ in range(48):
            filtered = trace.add("filterContams", 20, [split])
            converted = trace.add("sol2sanger", 8, [filtered])
            packed = trace.add("fastq2bfq", 10, [converted])
            mapped.append(trace.add("map", 180, [packed], cores=2, memory_mb=3000))
        merged.append(trace.add("mapMerge", 40, mapped, memory_mb=4000))
    everything = trace.add("mapMergeAll", 60, merged, cores=2, memory_mb=8000)
    trace.add("pileup", 90, [trace.add("maqIndex", 30, [everything], memory_mb=4000)], memory_mb=4000)
    return trace


def genome() -> Trace:
    """1000genome: per chromosome many individuals tasks merged, and per population overlaps and frequencies."""
    trace = Trace("1000genome")
    for _ in range(6):
        individuals = [trace.add("individuals", 140, memory_mb=2500) for _ in range(40)]
        merged = trace.add("individuals_merge", 60, individuals, memory_mb=8000)
        sifting = trace.add("sifting", 40, memory_mb=2000)
        for _ in range(7):
            trace.add("mutation_overlap", 90, [merged, sifting], memory_mb=3000)
            trace.add("frequency", 160, [merged, sifting], cores=4, memory_mb=6000)
    return trace


def blast() -> Trace:
    """One split, many long searches of about the same length, two tasks that gather."""
    trace = Trace("blast")
    split = trace.add("split_fasta", 20)
    searches = [trace.add("blastall", 150, [split], memory_mb=1500) for _ in range(500)]
    trace.add("cat_blast", 30, searches, memory_mb=1000)
    trace.add("cat", 20, searches, memory_mb=1000)
    return trace


if __name__ == "__main__":
    for make in (montage, epigenomics, genome, blast):
        make().write()
