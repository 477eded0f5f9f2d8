"""Rules whose Dask workers are jobs of the run: they get theirs, and never wait for each other for ever."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snakemake_executor_daskjq.batch.base import Cause, Ended
from snakemake_executor_daskjq.journal import events
from snakemake_executor_daskjq.model.outcome import End
from snakemake_executor_daskjq.model.pool import Pool
from snakemake_executor_daskjq.model.request import DaskWorkers, Request
from snakemake_executor_daskjq.policy import messages
from snakemake_executor_daskjq.policy.gangs import SPARE_FAILURES

from .core_player import Player

TWO = Pool("main", "slurm", cores=2, mem_mb=1000, walltime_s=7200, max_pilots=3)


def leader(name: str, count: int, least: int, priority: int = 0) -> Request:
    workers = DaskWorkers(count, least, {"cores": 1, "mem_mb": 100})
    return Request(name, 1, name, 1, {"cores": 1, "mem_mb": 100}, priority=priority, workers=workers)


def workers_of(run: Player, name: str) -> list[str]:
    return [key for key, _ in run.running if key.startswith(f"{name}.worker-")]


def connect_all(run: Player) -> None:
    for pilot in [pilot for pilot in run.requested if pilot not in run.ended]:
        run.connect(pilot)


def play(run: Player, wanted: dict[str, int], rounds: int = 200) -> None:
    """Let each leader end that has as many workers as it needs, and its workers after it."""
    connected: set[str] = set()
    for _ in range(rounds):
        for pilot in run.requested:
            if pilot not in connected:
                connected.add(pilot)
                run.connect(pilot)
        for key, _ in list(run.running):
            name, is_worker, _ = key.partition(".worker-")
            on = [one for one, _ in run.running]
            if (is_worker and name not in on) or (not is_worker and len(workers_of(run, key)) >= wanted.get(key, 0)):
                run.end(key)
        run.wait(1.0)


def test_a_rule_gets_its_workers_over_several_pilots_and_only_it_is_reported() -> None:
    run = Player(TWO)
    run.submit(leader("a", 5, 5))
    connect_all(run)
    run.wait(1.0)
    connect_all(run)
    assert len(workers_of(run, "a")) == 5
    assert {pilot for _, pilot in run.running} == {"main-1", "main-2", "main-3"}
    run.end("a")
    for key in workers_of(run, "a"):
        run.end(key)
    assert run.reports == [("a", End.SUCCEEDED, run.reports[0][2])]
    assert run.running == []


def test_two_rules_with_four_workers_each_on_room_for_six() -> None:
    run = Player(TWO)
    run.submit(leader("a", 4, 4), leader("b", 4, 4))
    play(run, {"a": 4, "b": 4})
    assert sorted(key for key, _, _ in run.reports) == ["a", "b"]


def test_who_needs_fewer_begins_and_takes_more_where_there_is_room() -> None:
    run = Player(TWO)
    run.submit(leader("a", 5, 1), Request("x", 2, "x", 1, {"cores": 1}, priority=1))
    run.hear(messages.JobsSubmitted((Request("y", 3, "y", 1, {"cores": 1, "mem_mb": 100}),)))
    run.connect("main-1")
    assert dict(run.running).keys() == {"x", "a"}
    run.end("x")
    assert len(workers_of(run, "a")) == 1  # what it needs goes before other rules
    run.wait(1.0)
    run.connect("main-2")
    run.connect("main-3")
    assert "y" in dict(run.running)
    assert len(workers_of(run, "a")) == 4


def test_a_lost_worker_is_replaced_and_one_that_ends_by_itself_too_but_not_for_ever() -> None:
    run = Player(TWO)
    run.submit(leader("a", 2, 2))
    connect_all(run)
    run.wait(1.0)
    run.connect("main-2")
    home = dict(run.running)["a"]
    away = next(pilot for key, pilot in run.running if pilot != home)
    run.lose(away)
    run.hear(messages.PilotGone(away, Ended("NODE_FAIL", Cause.CRASH)))
    run.wait(1.0)
    for pilot in run.requested[2:]:
        run.connect(pilot)
    assert len(workers_of(run, "a")) == 2
    (lost,) = (event.key for event in run.events(events.JobEnded))
    assert [event.reported for event in run.events(events.JobEnded)] == [False]
    assert [event.key for event in run.events(events.JobWithdrawn)] == [lost]
    for _ in range(2 * SPARE_FAILURES):  # and the one with a pilot that crashed
        assert workers_of(run, "a")
        run.end(workers_of(run, "a")[0], End.FAILED)
    assert len(workers_of(run, "a")) == 1
    assert any("Rule a fails: its Dask workers end again and again" in warning for warning in run.warnings)
    assert run.dropped == ["a"]
    assert not run.reports


def test_when_the_rule_ends_its_waiting_workers_are_taken_back_and_the_next_one_may_gather() -> None:
    run = Player(Pool("main", "slurm", cores=2, mem_mb=1000, walltime_s=7200, max_pilots=1))
    run.submit(leader("a", 3, 1), leader("b", 1, 1, priority=5))
    run.connect("main-1")
    assert dict(run.running).keys() == {"b", "b.worker-1-1"} or dict(run.running).keys() == {"a", "a.worker-1-1"}
    first = next(key for key, _ in run.running if ".worker-" not in key)
    run.end(first)
    for key in workers_of(run, first):
        run.end(key)
    withdrawn = {event.key for event in run.events(events.JobWithdrawn)}
    assert withdrawn == ({"a.worker-1-2", "a.worker-1-3"} if first == "a" else set())
    assert len(run.running) == 2


def test_a_rule_that_is_lost_gathers_anew() -> None:
    run = Player(TWO)
    run.submit(leader("a", 1, 1))
    run.connect("main-1")
    assert len(run.running) == 2
    run.lose("main-1")
    run.hear(messages.PilotGone("main-1", Ended("NODE_FAIL", Cause.CRASH)))
    run.wait(1.0)
    for pilot in run.requested[1:]:
        run.connect(pilot)
    assert [key for key, _ in run.running] == ["a", "a.worker-2-1"]


def test_what_is_withdrawn_waits_for_no_turn() -> None:
    run = Player(TWO)
    run.submit(leader("a", 4, 4), leader("b", 4, 4))
    run.connect("main-1")
    run.hear(messages.JobsWithdrawn())
    assert [(key, end) for key, end, _ in run.reports] == [("b", End.WITHDRAWN)]
    play(run, {"a": 4})
    assert [key for key, _, _ in run.reports] == ["b", "a"]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(-1, 1)), min_size=1, max_size=5),
    st.integers(0, 12),
    st.integers(0, 3),
)
def test_all_end_whatever_asks_for_how_many(asked: list[tuple[int, int, int]], others: int, lost: int) -> None:
    """Room for six; each needs up to five and one for itself, and pilots are lost meanwhile."""
    run = Player(TWO)
    wanted = {f"g{i}": min(one, other) for i, (one, other, _) in enumerate(asked)}
    run.submit(
        *(
            leader(f"g{i}", max(one, other), wanted[f"g{i}"], priority)
            for i, (one, other, priority) in enumerate(asked)
        ),
        *(Request(f"j{i}", i, "rule", 1, {"cores": 1 + i % 2}) for i in range(others)),
    )
    for _ in range(lost):
        connect_all(run)
        run.wait(1.0)
        if run.running:
            pilot = run.running[-1][1]
            run.lose(pilot)
            run.ended.append(pilot)
            run.hear(messages.PilotGone(pilot, Ended("PREEMPTED", Cause.NO_FAULT)))
            run.wait(1.0)
    play(run, wanted)
    assert sorted(key for key, _, _ in run.reports) == sorted([*wanted, *(f"j{i}" for i in range(others))])


def test_workers_that_take_pilots_down_are_not_replaced_for_ever() -> None:
    run = Player(TWO)
    run.submit(leader("a", 1, 1))
    run.connect("main-1")
    for _ in range(SPARE_FAILURES + 1):
        (worker,) = workers_of(run, "a")
        run.end(worker, End.LOST, "the launcher is gone (exit status -9)")
    assert run.dropped == ["a"]
    assert workers_of(run, "a") == []


def test_a_pilot_is_requested_for_the_last_worker_that_a_rule_needs() -> None:
    """A tenth of a pilot is not worth one for jobs that end; no worker makes room for another."""
    run = Player(Pool("main", "slurm", cores=40, mem_mb=100000, walltime_s=7200, max_pilots=3))
    workers = DaskWorkers(10, 10, {"cores": 4, "mem_mb": 100})
    run.submit(Request("a", 1, "a", 1, {"cores": 1, "mem_mb": 100}, workers=workers))
    run.connect("main-1")
    run.wait(1.0)
    assert (len(workers_of(run, "a")), run.requested) == (9, ["main-1", "main-2"])
    run.connect("main-2")
    assert len(workers_of(run, "a")) == 10


def test_free_cores_of_several_pilots_that_are_too_few_on_each_are_no_room() -> None:
    run = Player(Pool("main", "slurm", cores=40, mem_mb=100000, walltime_s=7200, max_pilots=5))
    workers = DaskWorkers(11, 11, {"cores": 7, "mem_mb": 100})
    run.submit(Request("a", 1, "a", 1, {"cores": 1, "mem_mb": 100}, workers=workers))
    for _ in range(6):
        connect_all(run)
        run.wait(20.0)
    assert len(workers_of(run, "a")) == 11


def test_when_a_rule_is_lost_its_workers_are_not_replaced_before_it_starts_again() -> None:
    run = Player(TWO)
    run.submit(leader("a", 4, 4))
    for _ in range(3):
        connect_all(run)
        run.wait(1.0)
    assert len(workers_of(run, "a")) == 4
    home = dict(run.running)["a"]
    run.lose(home)
    assert run.dropped == ["a"]
    for key in workers_of(run, "a"):
        run.end(key)  # they have lost their scheduler
    run.wait(5.0)
    assert run.running == []
    run.hear(messages.PilotGone(home, Ended("NODE_FAIL", Cause.CRASH)))
    for _ in range(3):
        connect_all(run)
        run.wait(1.0)
    assert "a" in dict(run.running)
    assert len([key for key in workers_of(run, "a") if ".worker-2-" in key]) == 4


def test_workers_of_an_earlier_try_that_end_late_change_nothing() -> None:
    run = Player(TWO)
    run.submit(leader("a", 3, 2))
    for _ in range(3):
        connect_all(run)
        run.wait(1.0)
    home = dict(run.running)["a"]
    run.lose(home)
    run.hear(messages.PilotGone(home, Ended("NODE_FAIL", Cause.CRASH)))
    for _ in range(3):
        connect_all(run)
        run.wait(1.0)
    (old, *_) = [key for key in workers_of(run, "a") if ".worker-1-" in key]
    before = len([key for key in workers_of(run, "a") if ".worker-2-" in key])
    run.end(old, End.FAILED)
    run.wait(1.0)
    assert len([key for key in workers_of(run, "a") if ".worker-2-" in key]) >= before
    assert run.core._gangs["a"].failures == 0


def test_a_gang_that_loses_a_needed_worker_gets_it_before_a_younger_one_whatever_else_it_waits_for() -> None:
    run = Player(replace(TWO, max_pilots=4))
    run.submit(leader("a", 5, 3))
    run.connect("main-1")
    run.submit(leader("b", 4, 4, priority=1))
    for pilot in ("main-2", "main-3", "main-4"):
        run.wait(1.0)
        run.connect(pilot)
    assert (len(workers_of(run, "a")), len(workers_of(run, "b"))) == (4, 2)  # b gathers
    run.end(workers_of(run, "a")[1], End.FAILED)
    assert (len(workers_of(run, "a")), len(workers_of(run, "b"))) == (3, 3)
    run.end(workers_of(run, "a")[1], End.FAILED)
    assert (len(workers_of(run, "a")), len(workers_of(run, "b"))) == (3, 3)


def test_a_rule_for_whose_workers_there_can_never_be_room_fails_and_the_next_one_starts() -> None:
    run = Player(Pool("main", "slurm", cores=4, mem_mb=1000, walltime_s=7200, max_pilots=1))
    workers = DaskWorkers(4, 4, {"cores": 1, "mem_mb": 100})
    run.submit(Request("a", 1, "a", 1, {"cores": 1, "mem_mb": 100}, workers=workers), leader("b", 1, 1))
    run.connect("main-1")
    assert any("Rule a fails: there is room for 3 of the Dask workers" in warning for warning in run.warnings)
    assert run.dropped == ["a"]
    run.end("a", End.FAILED)
    assert [key for key, _ in run.running] == ["b", "b.worker-2-1"]


def test_two_leaders_that_find_room_at_the_same_moment() -> None:
    run = Player(Pool("main", "slurm", cores=6, mem_mb=1000, walltime_s=7200, max_pilots=1))
    run.submit(leader("a", 4, 4), leader("b", 4, 4))
    run.connect("main-1")
    assert sorted(key for key, _ in run.running if ".worker-" not in key) == ["a", "b"]  # b once a had all
    assert [(event.key, event.by) for event in run.events(events.JobHeld)] == [("b", "a"), ("b", "")]
    play(run, {"a": 4, "b": 4})
    assert sorted(key for key, _, _ in run.reports) == ["a", "b"]


def test_a_leader_whose_pilot_does_not_come_keeps_no_other_waiting() -> None:
    run = Player(TWO, Pool("far", "slurm", cores=4, mem_mb=1000, walltime_s=7200, max_pilots=1))
    far = replace(leader("a", 1, 1), pools=("far",), workers=DaskWorkers(1, 1, {"cores": 1, "mem_mb": 100}, ("far",)))
    run.submit(far, replace(leader("b", 1, 1), pools=("main",)))
    run.wait(1.0)
    for pilot in run.requested:
        if pilot.startswith("main"):
            run.connect(pilot)
    assert "b" in dict(run.running)


def test_the_end_of_one_of_many_jobs_does_not_look_at_all_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Player(TWO)
    run.submit(*(Request(f"j{i}", i, "rule", 1, {"cores": 1}) for i in range(10)))
    run.connect("main-1")
    monkeypatch.setattr(run.core._ready, "remove", None)
    run.end("j0")
    assert [key for key, _, _ in run.reports] == ["j0"]
