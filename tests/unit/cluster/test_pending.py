"""The watch over pending pilots, with a fake batch system: a real one can't be made to forget jobs at will."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from snakemake_executor_daskjq.cluster import batch, pending


@dataclass(frozen=True)
class Pilot:
    name: str
    batch_id: str
    system: str = "slurm"


def watch(monkeypatch: pytest.MonkeyPatch, pilots: list[Pilot], answers: list[dict[str, str] | None]) -> list[object]:
    """What the watch tells of `pilots` while the batch system gives `answers`; then all have connected."""
    told: list[object] = []
    left = list(answers)

    async def ask(system: str) -> dict[str, str] | None:
        return left.pop(0)

    monkeypatch.setattr(batch, "ask", ask)
    monkeypatch.setattr(pending, "FIRST_QUERY_S", 0.0)
    waiting = list(pilots)

    def died(pilot: str) -> None:
        told.append(pilot)
        waiting[:] = [other for other in waiting if other.name != pilot]

    def waits(pilot: str, reason: str) -> None:
        told.append((pilot, reason))

    def held(pilot: str, state: str) -> None:
        told.append((pilot, "held", state))

    asyncio.run(asyncio.wait_for(pending.watch(lambda: waiting if left else [], waits, died, held), 10))
    return told


def test_a_pilot_that_is_missing_twice_has_died(monkeypatch: pytest.MonkeyPatch) -> None:
    pilots = [Pilot("a", "1"), Pilot("b", "2")]
    assert watch(monkeypatch, pilots, [{"2": "RUNNING"}, {"2": "RUNNING"}, {"2": "RUNNING"}]) == ["a"]


def test_no_answer_says_nothing_about_pilots(monkeypatch: pytest.MonkeyPatch) -> None:
    assert watch(monkeypatch, [Pilot("a", "1")], [None, None, None, {"1": "RUNNING"}]) == []


def test_a_reason_is_told_when_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[dict[str, str] | None] = [
        {"1": "PENDING (Priority)"},
        {"1": "PENDING (Priority)"},
        {"1": "PENDING (QOSMaxJobsPerUserLimit)"},
        {"1": "RUNNING"},
    ]
    assert watch(monkeypatch, [Pilot("a", "1")], answers) == [("a", "Priority"), ("a", "QOSMaxJobsPerUserLimit")]


def test_a_held_pilot_is_told_as_held_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[dict[str, str] | None] = [{"1": "PENDING (JobHeldUser)"}] * 3
    assert watch(monkeypatch, [Pilot("a", "1")], answers) == [("a", "held", "PENDING (JobHeldUser)")]


def test_a_listing_that_leaves_a_pilot_out_now_and_then_is_no_death(monkeypatch: pytest.MonkeyPatch) -> None:
    here, missing = {"1": "RUNNING"}, dict[str, str]()
    assert watch(monkeypatch, [Pilot("a", "1")], [here, missing, here, missing, here]) == []
