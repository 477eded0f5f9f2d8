from __future__ import annotations

import re
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from snakemake_executor_daskjq.errors import NoRunError
from snakemake_executor_daskjq.journal import events
from snakemake_executor_daskjq.journal.journal import Journal
from snakemake_executor_daskjq.model.outcome import End
from snakemake_executor_daskjq.model.pool import Pool
from snakemake_executor_daskjq.model.request import WarmStart
from snakemake_executor_daskjq.report.explain import explain
from snakemake_executor_daskjq.report.forecast import starts
from snakemake_executor_daskjq.report.run import Run, load
from snakemake_executor_daskjq.report.table import table

POOLS = (
    Pool("short", "slurm", cores=4, mem_mb=4000, walltime_s=300),
    Pool("main", "slurm", cores=4, mem_mb=8000, walltime_s=3600, max_pilots=1),
    Pool("paid", "slurm", cores=64, mem_mb=64000, rules=("assemble*",)),
)
T = 1_000_000.0


def submitted(key: str, rule: str, runtime_s: int | None = None, pools: tuple[str, ...] | None = None, **amounts: int):  # type: ignore[no-untyped-def]
    number = int(key.rpartition("-")[2])
    return events.JobSubmitted(key, number, rule, 1, amounts, runtime_s, pools)


def ended(key: str, pilot: str, start: float, end: float, how: End = End.SUCCEEDED, reported: bool = True):  # type: ignore[no-untyped-def]
    status = 0 if how is End.SUCCEEDED else 1
    return events.JobEnded(key, pilot, how, reported, status, None, start, end, 5.0, 99.0, "", WarmStart.OFF, "")


def run_of(*timed: tuple[float, events.Event]) -> Run:
    started = events.RunStarted(1, "0", {pool.name: asdict(pool) for pool in POOLS})
    return Run.of(event.record(T + after) for after, event in ((0.0, started), *timed))


def clock(after: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(T + after))


def said(run: Run, asked: str | None = None, after: float = 100.0) -> str:
    return "\n".join(explain(run, asked, T + after))


BUSY: tuple[tuple[float, Any], ...] = (
    (1, submitted("map-1", "map", runtime_s=600, cores=3)),
    (1, submitted("map-2", "map", runtime_s=600, cores=3)),
    (2, events.PilotRequested("main-1", "main")),
    (3, events.PilotSubmitted("main-1", "17")),
    (10, events.PilotStarted("main-1", "n1", {"cores": 4})),
    (10, events.JobPlaced("map-1", "main-1", 1)),
)


def test_a_waiting_job_is_told_what_rules_pools_out_what_is_short_and_when_it_may_start() -> None:
    lines = said(run_of(*BUSY))
    assert "map-2 (cores=3, runtime 10 min): waiting since 1 min 39 s." in lines
    assert "pool short is ruled out: runtime=600 seconds asked, its pilots have 300 seconds." in lines
    assert "pilot main-1: cores=1 free of 4; 1 job runs there." in lines
    assert "pool main: it has as many pilots as it may (max_pilots=1)." in lines
    assert "pool paid: no pilot is on its way" in lines
    when = clock(10 + 600)  # the stated runtime of map-1, none measured yet
    assert f"Estimate: it starts about {when} on pilot main-1" in lines
    assert "main-1 (batch job 17) is on n1: 1 job runs, 58 min 30 s of walltime left." in lines


def test_measured_times_go_before_stated_ones_and_walltime_that_is_too_short_is_told() -> None:
    run = run_of(*BUSY, (50, ended("map-1", "main-1", T + 10, T + 50)), (60, events.JobPlaced("map-2", "main-1", 1)))
    assert run.expected_s("map", 600) == 40.0
    late = run_of(*BUSY)
    assert "its walltime ends in 5 min, before the job's runtime would" in said(late, "map", after=10 + 3300)
    assert "Estimate: none" in said(late, "map", after=10 + 3300)


def test_pilots_that_wait_or_fail_are_told_with_the_batch_systems_words() -> None:
    waits = (
        *((1, submitted("map-1", "map", cores=1, pools=("main",))), (2, events.PilotRequested("main-1", "main"))),
        *((3, events.PilotSubmitted("main-1", "17")), (4, events.PilotWaits("main-1", "Priority"))),
    )
    lines = said(run_of(*waits), "1")
    assert "pool main: 1 of its pilots wait in the batch queue (Priority)." in lines
    assert "pool short is ruled out: the job asks for other pools or nodes, or lacks a label." in lines
    assert "pool paid is ruled out: it is for the rules assemble*." in lines
    assert "main-1 (batch job 17) waits since 1 min 38 s: Priority." in lines
    failed = run_of(*waits, (5, events.PilotFailed("main-1", "socket timed out", 600.0)))
    again = f"next try at {clock(605)}"
    assert f"pool main: its pilots could not be started, last: socket timed out; {again}." in said(failed)
    given_up = run_of(*waits, (5, events.PilotFailed("main-1", "invalid account", 0.0)))
    assert "could not be started, last: invalid account; it gets no more of them." in said(given_up)


def test_jobs_that_do_not_wait_are_told_too() -> None:
    run = run_of(
        *BUSY, (50, ended("map-1", "main-1", T + 10, T + 50, End.FAILED)), (60, events.JobPlaced("map-2", "main-1", 1))
    )
    assert "map-2 runs on pilot main-1 since 40 s." in said(run, "map")
    assert "1 job of map ended: failed." in said(run, "map")
    assert said(run).startswith("No job waits for a pilot.")
    assert "daskjq has got no such job" in said(run, "nosuch")
    assert "Known rules: map." in said(run, "nosuch")


def test_a_job_that_was_lost_waits_again() -> None:
    run = run_of(
        *BUSY, (20, events.PilotLost("main-1", ["map-1"])), (21, ended("map-1", "main-1", 0, 0, End.LOST, False))
    )
    assert run.jobs["map-1"].waits
    assert "2 jobs of rule map" in said(run)


def test_the_table_has_a_row_for_each_rule() -> None:
    run = run_of(
        *BUSY, (50, ended("map-1", "main-1", T + 10, T + 50)), (60, ended("map-2", "main-1", T, T + 10, End.FAILED))
    )
    head, row = table(run).splitlines()
    assert head.split()[:3] == ["rule", "jobs", "failed"]
    assert row.split() == ["map", "2", "1", "25.0", "40.0", "600", "7", "%", "99", "-", "0"]


def test_a_folder_without_a_journal_or_with_another_one_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NoRunError, match="No run found in"):
        load(tmp_path)
    (tmp_path / "journal.jsonl").write_text('{"t": 1, "event": "job_placed", "key": "x"}\n')
    with pytest.raises(NoRunError, match="not as expected"):
        load(tmp_path)


def test_a_run_that_was_killed_is_told_as_such_and_one_that_goes_on_is_not(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path, pytest.fail)
    journal.write(events.RunStarted(1, "0", {pool.name: asdict(pool) for pool in POOLS}))
    journal.write(submitted("map-1", "map", cores=3))
    assert "was it killed?" not in said(load(tmp_path))
    journal.close()
    assert "was it killed?" in said(load(tmp_path))
    with path.open("a") as lines:
        lines.write('{"t": 2, "event": "run_ended", "cancelled": false}\n')
    assert "was it killed?" not in said(load(tmp_path))


def test_what_the_reader_reads_are_events_of_the_journal() -> None:
    kinds = {kind.name for kind in vars(events).values() if isinstance(kind, type) and hasattr(kind, "name")}
    read = {name.removeprefix("_") for name in vars(Run) if re.fullmatch(r"_[a-z]+(_[a-z]+)+", name)}
    assert read - kinds == set()
    assert {"job_submitted", "job_placed", "job_ended", "pilot_started", "host_excluded"} <= read


def test_hosts_that_get_no_pilots_and_how_lost_ones_ended_are_told() -> None:
    gone = (events.PilotLost("main-1", ["map-1"]), events.PilotGone("main-1", "n1", "NODE_FAIL"))
    run = run_of(*BUSY, *((20.0, event) for event in gone), (21.0, events.HostExcluded("n1", 3)))
    assert "main-1 was lost on n1: NODE_FAIL." in said(run)
    assert "Host n1 gets no more pilots: 3 crashed there." in said(run)


def test_the_estimate_counts_the_jobs_that_wait_too() -> None:
    jobs = [(1, submitted(f"map-{i}", "map", runtime_s=600, cores=4)) for i in range(1, 5)]
    run = run_of(*jobs, *BUSY[2:5], (10, events.JobPlaced("map-1", "main-1", 1)))
    found = starts(run, T + 100)
    assert [found[f"map-{i}"][0] - T for i in (2, 3, 4)] == [610, 1210, 1810]
    # long-9 would end after the pilot's walltime: no estimate is made of a pilot that is still to come.
    late = run_of(
        *jobs,
        *BUSY[2:5],
        (10, events.JobPlaced("map-1", "main-1", 1)),
        (11, submitted("long-9", "long", 3500, cores=1)),
    )
    assert "long-9" not in starts(late, T + 1000)
    assert "the first of them starts about" in said(run)


def test_a_forecast_of_many_jobs_ends() -> None:
    jobs = [(1, submitted(f"map-{i}", "map", runtime_s=1, cores=1)) for i in range(1, 3001)]
    assert len(starts(run_of(*jobs, *BUSY[2:5]), T + 10)) == 3000


def test_a_rule_that_waits_for_another_to_gather_its_dask_workers_is_told_so() -> None:
    held = (
        (1.0, submitted("a-1-1", "a")),
        (1.0, submitted("b-2-1", "b")),
        (2.0, events.JobHeld(key="b-2-1", by="a-1-1")),
    )
    assert "It starts once a-1-1 has got the Dask workers that it needs" in said(run_of(*held), "b")
    assert "Dask workers" not in said(run_of(*held, (3.0, events.JobHeld(key="b-2-1", by=""))), "b")
