"""Ends what a dead controller has left: `python -m snakemake_executor_daskjq.controller.sweep FOLDER [SCHEDULER]`.

Pilots end by themselves once their scheduler is gone, but a batch job that is queued would start first, and a pilot
that is stopped can do nothing. The journal tells of batch jobs; pilots on this machine tell by their own command line
whose they are, so a process id that is another's by now is never taken for one. Prints what may be left; the exit
status is then 1. Does not cover a batch job whose submission was under way: its pilot ends itself at its start.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from .. import batch
from ..dask_cluster import external
from ..dask_cluster.pilots import LOCAL_GRACE_S, batch_pilot_class
from ..dask_cluster.spare import PILOT_MODULE
from ..journal import journal
from ..journal.journal import RunFolder

if TYPE_CHECKING:
    from collections.abc import Iterable

STRAYS_S = 5.0
"""What a pilot that had to be killed has started ends by itself in less."""

UNKNOWN = ""
"""The system of a batch job where the journal lacks what would tell: false, as no name is."""

ASK_EVERY_S = 1.0
GONE_S = 60.0
"""So long the batch system may list a batch job after it was cancelled."""


async def sweep(folder: RunFolder, scheduler: str | None) -> list[str]:
    """End pilots, or the run's visit at a foreign scheduler; returns what may be left, in words."""
    work = [asyncio.to_thread(_end_pilots_here, str(folder.path.absolute()))]
    found = batch_jobs(*journals(folder))
    unknown = found.pop(UNKNOWN, [])
    work += [_cancel(system, ids) for system, ids in found.items()]
    if scheduler is not None:
        work.append(external.end_visit(scheduler, folder))
    answers = await asyncio.gather(*work, return_exceptions=True)
    for name in ("ca", "cert", "key"):
        (folder.tls / f"{name}.pem").unlink(missing_ok=True)
    folder.forget_workers()
    shutil.rmtree(folder.path / "dask", ignore_errors=True)
    left = [f"batch jobs {', '.join(unknown)} of a pool that the journal does not name"] if unknown else []
    return [*left, *(str(answer) for answer in answers if answer)]


def journals(folder: RunFolder) -> list[Path]:
    """Those of all runs of the controller that a run has started: each tells of the pilots that were there with it."""
    others = []
    for path in folder.path.parent.glob("*/journal.jsonl"):
        with contextlib.suppress(OSError, StopIteration):
            if next(journal.read(path)).get("controller") == folder.name:
                others.append(path)
    return sorted({folder.journal_path, *others})


def batch_jobs(*paths: Path) -> dict[str, list[str]]:
    """The ids of all batch jobs of a controller's journals, by batch system (`UNKNOWN` where it can't be told).

    Also those of pilots that were told to end: who told them may not have come to cancel them.
    """
    found: defaultdict[str, dict[str, None]] = defaultdict(dict)  # in order, and each once
    for path in paths:
        system_of_pool: dict[str, str] = {}
        pool_of_pilot: dict[str, str] = {}
        with contextlib.suppress(FileNotFoundError):  # the run had hardly begun
            for event in journal.read(path):
                match event.get("event"):
                    case "run_started":
                        system_of_pool = {name: pool["system"] for name, pool in event["pools"].items()}
                    case "pilot_requested":
                        pool_of_pilot[event["pilot"]] = event["pool"]
                    case "pilot_submitted":
                        # A line may be missing, where the disk was full for a moment.
                        system = system_of_pool.get(pool_of_pilot.get(event["pilot"], ""), UNKNOWN)
                        if not system or batch.system(system).queues:
                            found[system][event["batch_id"]] = None
    return {system: list(ids) for system, ids in found.items()}


async def _cancel(system: str, batch_ids: Iterable[str]) -> str:
    """Cancel those that the system still lists, and wait until none of them can run any more."""
    asked = batch.system(system)
    listed = await asked.listed(())
    live = [batch_id for batch_id in batch_ids if listed is None or batch_id in listed]
    pilot = batch_pilot_class(system)
    await asyncio.gather(*map(pilot.cancel, live))
    until = time.monotonic() + GONE_S
    while live and time.monotonic() < until:
        listed = await asked.listed(())
        if listed is not None:
            live = [batch_id for batch_id in live if batch_id in listed]
        if live:
            await asyncio.sleep(ASK_EVERY_S)
    return f"batch jobs {', '.join(live)} of {system}" if live else ""


def _end_pilots_here(mark: str) -> str:
    """End the pilots on this machine whose command line has `mark`; they end their jobs."""
    pilots = [process for process in psutil.process_iter() if _is_pilot(process, mark)]
    family = {process for pilot in pilots for process in _descendants(pilot)}
    for pilot in pilots:
        with contextlib.suppress(psutil.Error):
            pilot.terminate()
    for pilot in _left(pilots, LOCAL_GRACE_S):
        family.update(_descendants(pilot))
        _kill(pilot)
    for stray in _left(family, STRAYS_S):
        _kill(stray)
    left = _left([*pilots, *family], STRAYS_S)
    return f"processes {', '.join(str(process.pid) for process in left)}" if left else ""


def _is_pilot(process: psutil.Process, mark: str) -> bool:
    try:
        command = process.cmdline()
        return PILOT_MODULE in command and any(argument.startswith(mark) for argument in command)
    except psutil.Error:
        return False


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.Error:
        return []


def _left(processes: Iterable[psutil.Process], patience_s: float) -> list[psutil.Process]:
    """Those that still run after this time. A zombie does not, whoever should care for it."""
    until = time.monotonic() + patience_s
    while left := [process for process in processes if _runs(process)]:
        if time.monotonic() > until:
            break
        time.sleep(0.05)
    return left


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _kill(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.Error):
        process.kill()


def main() -> None:
    path, *scheduler = sys.argv[1:]
    folder = RunFolder(Path(path).parent.parent, Path(path).name)
    left = asyncio.run(sweep(folder, scheduler[0] if scheduler else None))
    print("; ".join(left), flush=True)
    os._exit(1 if left else 0)


if __name__ == "__main__":
    main()
