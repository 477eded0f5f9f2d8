"""What a dead controller's journal tells of what may be left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from snakemake_executor_daskjq.controller.sweep import batch_jobs, journals
from snakemake_executor_daskjq.dask_cluster.spare import PILOT_MODULE
from snakemake_executor_daskjq.journal import events
from snakemake_executor_daskjq.journal.journal import Journal, RunFolder, end_abandoned, read


def started(folder: RunFolder, controller: str = "") -> Journal:
    journal = Journal(folder.journal_path, lambda words: None)
    pools = {"main": {"system": "slurm"}, "here": {"system": "local"}}
    journal.write(events.RunStarted(schema=1, version="0", pools=pools, controller=controller or folder.name))
    return journal


def test_all_batch_jobs_that_were_ever_submitted_are_looked_for(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.create()
    journal = started(folder)
    for pilot, pool, batch_id in (("main-1", "main", "7"), ("here-1", "here", "4711"), ("main-2", "main", "8")):
        journal.write(events.PilotRequested(pilot=pilot, pool=pool))
        journal.write(events.PilotSubmitted(pilot=pilot, batch_id=batch_id))
    journal.write(events.PilotRequested(pilot="main-3", pool="main"))
    journal.write(events.PilotEnded(pilot="main-2", why="idle"))  # its cancel command may never have run
    assert batch_jobs(folder.journal_path) == {"slurm": ["7", "8"]}


def test_a_line_that_is_missing_hides_no_batch_job(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.create()
    journal = started(folder)
    journal.write(events.PilotSubmitted(pilot="main-1", batch_id="7"))  # its request could not be written
    journal.write(events.PilotRequested(pilot="main-2", pool="main"))
    journal.write(events.PilotSubmitted(pilot="main-2", batch_id="8"))
    assert batch_jobs(folder.journal_path) == {"": ["7"], "slurm": ["8"]}


def test_pilots_that_later_runs_have_requested_are_looked_for_too(tmp_path: Path) -> None:
    """A controller that is kept writes in the journal of the run that is there."""
    for number, controller in enumerate(("run-0", "run-0", "run-2")):
        folder = RunFolder(tmp_path, f"run-{number}")
        folder.create()
        journal = started(folder, controller)
        for pilot in ("main-1", f"main-{number + 1}"):
            journal.write(events.PilotRequested(pilot=pilot, pool="main"))
            journal.write(events.PilotSubmitted(pilot=pilot, batch_id=f"{controller}/{pilot}"))
    first = RunFolder(tmp_path, "run-0")
    assert batch_jobs(*journals(first)) == {"slurm": ["run-0/main-1", "run-0/main-2"]}


def test_a_run_that_had_hardly_begun_has_none(tmp_path: Path) -> None:
    assert batch_jobs(tmp_path / "journal.jsonl") == {}


def test_a_journal_that_nobody_has_ended_is_ended_once(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.create()
    started(folder).close()
    with folder.journal_path.open("a") as torn:
        torn.write('{"t":1,"event":"job_pl')
    end_abandoned(folder.journal_path)
    end_abandoned(folder.journal_path)
    assert [(event["event"], event.get("cancelled")) for event in read(folder.journal_path)] == [
        ("run_started", None),
        ("run_ended", True),
    ]


def test_a_pilot_of_the_run_is_ended_and_another_runs_is_not(tmp_path: Path) -> None:
    """A spare pilot waits for its arguments: it is one that does nothing else."""
    folders = [RunFolder(tmp_path, name) for name in ("mine", "other")]
    pilots = []
    for folder in folders:
        folder.create()
        command = [sys.executable, "-m", PILOT_MODULE, "--wait", str(folder.path.absolute())]
        pilots.append(subprocess.Popen(command, stdin=subprocess.PIPE, env=dict(os.environ)))
    mine, other = pilots
    try:
        sweep = [sys.executable, "-m", "snakemake_executor_daskjq.controller.sweep", str(folders[0].path)]
        done = subprocess.run(sweep, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout.strip()) == (0, "")
        assert mine.wait(10) != 0
        assert other.poll() is None
    finally:
        other.kill()
        for pilot in pilots:
            pilot.communicate()
