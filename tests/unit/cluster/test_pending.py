"""The watch over pending pilots, with a fake batch system: a real one can't be made to forget jobs at will."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pytest

from snakemake_executor_daskjq.batch.base import BatchSystem, Listed, ListedState
from snakemake_executor_daskjq.cluster import pending

QUEUED, HELD, BROKEN, RUNNING, ENDING = ListedState
HERE = {"1": Listed(RUNNING)}

Answer = dict[str, Listed] | None


class System(BatchSystem):
    """Gives these answers, one after the other."""

    name = "fake"

    def __init__(self, answers: Sequence[Answer]) -> None:
        self.left = [*answers, None]
        self.asked: list[list[str]] = []

    async def listed(self, batch_ids: Collection[str]) -> Answer:
        self.asked.append(list(batch_ids))
        return self.left.pop(0)


@dataclass(frozen=True)
class Pilot:
    name: str
    batch_id: str
    system: BatchSystem


def watch(monkeypatch: pytest.MonkeyPatch, pilots: dict[str, str], answers: Sequence[Answer]) -> list[object]:
    """What the watch tells of `pilots` (batch ids by name) while the system gives `answers`; then all connect."""
    told: list[object] = []
    system = System(answers)
    monkeypatch.setattr(pending, "FIRST_QUERY_S", 0.0)
    waiting = [Pilot(name, batch_id, system) for name, batch_id in pilots.items()]

    def died(pilot: str) -> None:
        told.append(pilot)
        waiting[:] = [other for other in waiting if other.name != pilot]

    def waits(pilot: str, reason: str) -> None:
        told.append((pilot, reason))

    def held(pilot: str, state: str) -> None:
        told.append((pilot, "held", state))

    def broken(pilot: str, why: str) -> None:
        died(pilot)
        told[-1] = (pilot, "broken", why)

    work = pending.watch(lambda: waiting if system.left else [], waits, died, held, broken)
    asyncio.run(asyncio.wait_for(work, 10))
    assert all(set(asked) <= set(pilots.values()) for asked in system.asked)
    return told


def test_a_pilot_that_is_missing_twice_has_died(monkeypatch: pytest.MonkeyPatch) -> None:
    other = {"2": Listed(RUNNING)}
    assert watch(monkeypatch, {"a": "1", "b": "2"}, [other, other, other]) == ["a"]


def test_no_answer_says_nothing_about_pilots(monkeypatch: pytest.MonkeyPatch) -> None:
    assert watch(monkeypatch, {"a": "1"}, [None, None, None, HERE]) == []


def test_a_reason_is_told_when_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = ("Priority", "Priority", "QOSMaxJobsPerUserLimit")
    answers = [*({"1": Listed(QUEUED, reason)} for reason in reasons), HERE]
    told = watch(monkeypatch, {"a": "1"}, answers)
    assert told == [("a", "Priority"), ("a", "QOSMaxJobsPerUserLimit"), ("a", "")]


def test_what_is_free_at_the_moment_is_no_new_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = [f"Not Running: Insufficient amount of resource: mem (R: 8gb A: {free}kb)" for free in (0, 9)]
    answers = [{"1": Listed(QUEUED, reason)} for reason in reasons]
    assert watch(monkeypatch, {"a": "1"}, answers) == [("a", reasons[0])]


def test_a_held_pilot_is_told_as_held_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [{"1": Listed(HELD, "PENDING (JobHeldUser)")}] * 3
    assert watch(monkeypatch, {"a": "1"}, answers) == [("a", "held", "PENDING (JobHeldUser)")]


def test_a_release_takes_the_reason_back(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [{"1": Listed(HELD, "hqw")}, {"1": Listed(QUEUED)}, {"1": Listed(QUEUED)}]
    assert watch(monkeypatch, {"a": "1"}, answers) == [("a", "held", "hqw"), ("a", "")]


def test_a_pilot_whose_start_has_failed_is_told_as_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [{"1": Listed(QUEUED)}, {"1": Listed(BROKEN, "error: can't chdir")}]
    assert watch(monkeypatch, {"a": "1"}, answers) == [("a", "broken", "error: can't chdir")]


def test_a_listing_that_leaves_a_pilot_out_now_and_then_is_no_death(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = dict[str, Listed]()
    assert watch(monkeypatch, {"a": "1"}, [HERE, missing, HERE, missing, HERE]) == []
