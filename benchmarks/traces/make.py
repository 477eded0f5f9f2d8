"""Writes the traces of this folder: synthetic workflows in WfCommons' WfFormat 1.5.

Each has the shape of a well-known workflow (which kinds of tasks there are, what waits for what, which kinds are short,
long, or need memory), with seconds and memory drawn from a fixed seed: around the counts and seconds of one measured
instance in WfInstances where the function names it, around invented ones where it does not. The instances themselves
(github.com/wfcommons/WfInstances) can be given to `replay.py`, too.

    python benchmarks/traces/make.py
"""

from __future__ import annotations

import gzip
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
        self,
        kind: str,
        seconds: float,
        parents: list[str] | None = None,
        cores: int = 1,
        memory_mb: int = 0,
        varied: bool = True,
    ) -> str:
        """One task; its seconds and memory, where there are any, vary by a third around what is given."""
        if varied:
            seconds *= self.random.uniform(0.67, 1.33)
        task = f"{kind}_{len(self.tasks):05d}"
        self.tasks.append({"name": kind, "id": task, "parents": parents or [], "children": []})
        run: dict[str, object] = {
            "id": task,
            "runtimeInSeconds": round(seconds, 2),
            "coreCount": cores,
        }
        if memory_mb:
            run["memoryInBytes"] = int(memory_mb * 1e6 * self.random.uniform(0.67, 1.33))
        self.runs.append(run)
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
        text = json.dumps(trace, separators=(",", ":")) + "\n"
        (FOLDER / f"{self.name}.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


def montage() -> Trace:
    """Images are projected, each overlap is fitted, all fits give one model, by which each image is corrected.

    Counts and seconds are those of `pegasus/montage/montage-chameleon-2mass-10d-001.json` in WfInstances: three bands
    of 217 images with 1,176 overlaps, joined by the last task only; 31,498 s in all. Memory is not recorded there.
    """
    trace = Trace("montage")
    mosaics = []
    for _ in range(3):
        projected = [trace.add("mProject", 27) for _ in range(217)]
        pairs = [(i, (i + step) % 217) for step in range(1, 7) for i in range(217)][:1176]
        fits = [
            trace.add("mDiffFit", 23 if number % 13 == 0 else 0.9, [projected[i], projected[j]])
            for number, (i, j) in enumerate(pairs)
        ]
        concat = trace.add("mConcatFit", 6.8, fits)
        model = trace.add("mBgModel", 59.3, [concat])
        corrected = [
            trace.add("mBackground", (0.5, 6, 11, 12)[number % 4], [image, model])
            for number, image in enumerate(projected)
        ]
        table = trace.add("mImgtbl", 1.0, corrected)
        mosaics.append(trace.add("mViewer", 7.2, [trace.add("mAdd", 3.0, [table])]))
    trace.add("mViewer", 14.8, mosaics)
    return trace


def epigenomics() -> Trace:
    """Independent chains of filtering and mapping for each chunk of each lane, merged by lane.

    Counts and seconds are those of `pegasus/epigenomics/epigenomics-chameleon-ilmn-6seq-50k-001.json` in WfInstances:
    six lanes, whose splits took from one to fifteen minutes, and 420 chunks; 26,060 s in all. Merges are guessed.
    """
    trace = Trace("epigenomics")
    merged = []
    for split_s in (130, 514, 66, 878, 63, 824):
        split = trace.add("fastqSplit", split_s, varied=False)
        mapped = []
        for chunk in range(70):
            filtered = trace.add("filterContams", (1.4, 25)[chunk % 2], [split])
            converted = trace.add("sol2sanger", (0.3, 14)[chunk % 2], [filtered])
            packed = trace.add("fast2bfq", 2.2, [converted])
            mapped.append(trace.add("map", 32, [packed]))
        merged.append(trace.add("mapMerge", 5, mapped))
    everything = trace.add("mapMerge", 10, merged)
    trace.add("pileup", 53, [trace.add("chr21", 5, [everything])])
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
    split = trace.add("split_fasta", 20, memory_mb=500)
    searches = [trace.add("blastall", 150, [split], memory_mb=1500) for _ in range(500)]
    trace.add("cat_blast", 30, searches, memory_mb=1000)
    trace.add("cat", 20, searches, memory_mb=1000)
    return trace


if __name__ == "__main__":
    for make in (montage, epigenomics, genome, blast):
        make().write()
