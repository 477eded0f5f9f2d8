"""The driver against a fake fleet (a real one needs Dask): events in, instructions carried out, one turn at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

import pytest

from snakemake_executor_daskjq.controller import driver
from snakemake_executor_daskjq.controller.driver import Driver
from snakemake_executor_daskjq.errors import DaskjqError
from snakemake_executor_daskjq.journal import events, journal
from snakemake_executor_daskjq.journal.history import History
from snakemake_executor_daskjq.journal.journal import Journal, RunFolder
from snakemake_executor_daskjq.model.job_spec import JobSpec
from snakemake_executor_daskjq.model.outcome import End, Outcome
from snakemake_executor_daskjq.model.pool import Pool
from snakemake_executor_daskjq.model.request import Amounts, Request
from snakemake_executor_daskjq.model.usage import Usage
from snakemake_executor_daskjq.policy import messages

POOL = Pool("main", "local", cores=2, mem_mb=1000, max_pilots=3)
RECORDS = list[dict[str, object]]


class FakeFleet:
    """Stands in for Dask: pilots are names, and the test decides how each job ends."""

    def __init__(self) -> None:
        self.requested: list[str] = []
        self.ended: list[str] = []
        self.running: dict[str, asyncio.Future[Outcome]] = {}
        self.changed = asyncio.Event()

    async def request(self, pilot: str, pool: Pool, excluded: tuple[str, ...]) -> None:
        self.requested.append(pilot)
        self.changed.set()

    async def end(self, pilot: str) -> None:
        self.ended.append(pilot)
        self.changed.set()

    async def end_jobs(self, address: str, keys: Collection[str], grace_s: float) -> None:
        for key in keys:
            self.running[f"{key}@{address}"].set_result(Outcome(End.LOST, detail="told to end"))

    async def run(self, address: str, spec: JobSpec, amounts: Amounts) -> Outcome:
        self.running[f"{spec.key}@{address}"] = asyncio.get_running_loop().create_future()
        self.changed.set()
        return await self.running[f"{spec.key}@{address}"]

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            await asyncio.wait_for(self.changed.wait(), 5)
            self.changed.clear()


class Told:
    journal: Journal
    history: History

    def __init__(self, fleet: Callable[[], FakeFleet]) -> None:
        self.ended: list[tuple[str, End, str]] = []
        self.warnings: list[str] = []
        self.errors: list[DaskjqError] = []
        self._fleet = fleet

    def job_ended(self, request: Request, outcome: Outcome, pilot: str) -> None:
        self.ended.append((request.key, outcome.end, pilot))
        self._fleet().changed.set()

    def record(self, *what: events.Event | tuple[events.Event, float]) -> None:
        self.journal.write(*what)

    def learn(self, rule: str, usage: Usage) -> None:
        self.history.learn(rule, usage)

    def dask_workers(self, key: str) -> Path:
        raise AssertionError("no job here has Dask workers")

    def tell(self, text: str) -> None: ...

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def give_up(self, error: DaskjqError) -> None:
        self.errors.append(error)
        self._fleet().changed.set()


def jobs(count: int) -> list[tuple[Request, JobSpec]]:
    def job(number: int) -> tuple[Request, JobSpec]:
        key = f"j{number}"
        return Request(key, number, "rule", 1, {"cores": 1}), JobSpec(key, "{}")

    return [job(number) for number in range(count)]


def new(jobs: list[tuple[Request, JobSpec]]) -> list[tuple[messages.Event, JobSpec]]:
    return [(messages.JobsSubmitted((request,)), spec) for request, spec in jobs]


Scenario = Callable[[Driver[FakeFleet], FakeFleet, Told], Awaitable[None]]
Play = Callable[[Scenario], tuple[Told, RECORDS]]


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    monkeypatch.setattr(driver, "FENCE_S", 0.2)
    monkeypatch.setattr(driver, "WAKE_S", 0.1)

    def run(scenario: Scenario) -> tuple[Told, RECORDS]:
        folder = RunFolder(tmp_path)
        folder.create()

        async def body() -> Told:
            told = Told(lambda: running.fleet)
            log = Journal(folder.journal_path, told.warn)
            told.history = History(folder.history_path)
            told.journal = log
            running = Driver((POOL,), lambda _: FakeFleet(), folder.pilot_logs)
            running.begin(1, told, told.history.rules)
            await scenario(running, running.fleet, told)
            await running.close()
            log.close()
            told.history.save()
            return told

        told = asyncio.run(body())
        return told, list(journal.read(folder.journal_path))

    return run


async def connect(running: Driver[FakeFleet], pilot: str) -> None:
    running.pilot_submitted(pilot, "1")
    running.pilot_connected(pilot, f"at-{pilot}", "host")


def test_a_job_runs_on_a_pilot_is_reported_once_and_remembered(play: Play, tmp_path: Path) -> None:
    async def scenario(running: Driver[FakeFleet], fleet: FakeFleet, told: Told) -> None:
        running.submit(1, new(jobs(1)))
        await fleet.until(lambda: fleet.requested == ["main-1"])
        await connect(running, "main-1")
        await fleet.until(lambda: fleet.running)
        fleet.running["j0@at-main-1"].set_result(Outcome(End.SUCCEEDED, exit_status=0, started_at=1.0, ended_at=4.0))
        await fleet.until(lambda: told.ended)

    told, records = play(scenario)
    assert told.ended == [("j0", End.SUCCEEDED, "main-1")]
    assert [record["event"] for record in records] == [
        "job_submitted",
        "planned",
        "pilot_requested",
        "pilot_submitted",
        "pilot_started",
        "job_placed",
        "job_ended",
        "pilot_ended",
    ]
    assert float(str(records[1]["seconds"])) > 0
    assert History(RunFolder(tmp_path).history_path).rules["rule"].wall_s == 3.0


def test_a_lost_job_starts_elsewhere_only_after_the_time_in_which_its_pilot_may_live_on(play: Play) -> None:
    async def scenario(running: Driver[FakeFleet], fleet: FakeFleet, told: Told) -> None:
        running.submit(1, new(jobs(1)))
        await fleet.until(lambda: fleet.requested)
        await connect(running, "main-1")
        await fleet.until(lambda: "j0@at-main-1" in fleet.running)
        running.pilot_disconnected("main-1")
        fleet.running["j0@at-main-1"].set_result(Outcome(End.LOST, detail="its pilot disconnected"))
        await fleet.until(lambda: "main-2" in fleet.requested)
        await connect(running, "main-2")
        await fleet.until(lambda: "j0@at-main-2" in fleet.running)

    _, records = play(scenario)
    times = {record["event"]: record["t"] for record in records if record["event"] in ("pilot_lost", "pilot_gone")}
    again = [float(str(r["t"])) for r in records if r["event"] == "job_placed" and r["tries"] == 2]
    assert again
    assert min(again) >= float(str(times["pilot_gone"]))
    assert float(str(times["pilot_gone"])) - float(str(times["pilot_lost"])) >= 0.2


def test_what_ended_in_the_turn_in_which_the_run_ends_is_reported_and_what_never_began_is_known(play: Play) -> None:
    waiting: list[str] = []

    async def scenario(running: Driver[FakeFleet], fleet: FakeFleet, told: Told) -> None:
        running.submit(1, new(jobs(3)))
        await fleet.until(lambda: fleet.requested)
        await connect(running, "main-1")
        await fleet.until(lambda: len(fleet.running) == 2)
        running.post(messages.JobEnded("j0", "main-1", Outcome(End.FAILED, exit_status=1)))
        await running.close()
        waiting.extend(running.core.waiting())

    told, records = play(scenario)
    assert told.ended == [("j0", End.FAILED, "main-1")]
    assert waiting == ["j2"]
    assert [record["reported"] for record in records if record["event"] == "job_ended"] == [True]


def test_a_defect_is_told_and_leaves_nobody_waiting(play: Play) -> None:
    async def scenario(running: Driver[FakeFleet], fleet: FakeFleet, told: Told) -> None:
        async def broken(pilot: str, pool: Pool, excluded: tuple[str, ...]) -> None:
            raise RuntimeError("no such thing")

        fleet.request = broken  # type: ignore[method-assign]
        running.submit(1, new(jobs(1)))
        await fleet.until(lambda: told.errors)

    told, _ = play(scenario)
    assert "internal error: RuntimeError: no such thing" in str(told.errors[0])


def test_a_run_that_ends_has_its_jobs_ended_and_another_goes_on(play: Play) -> None:
    async def scenario(running: Driver[FakeFleet], fleet: FakeFleet, told: Told) -> None:
        other = Told(lambda: fleet)
        other.journal, other.history = told.journal, told.history
        running.begin(2, other, {})
        running.submit(1, new(jobs(2)))
        running.submit(2, new([(Request("k0", 0, "rule", 1, {"cores": 1}, run=2), JobSpec("k0", "{}"))]))
        await fleet.until(lambda: fleet.requested)
        await connect(running, "main-1")
        await fleet.until(lambda: len(fleet.running) == 2)
        assert "k0@at-main-1" in fleet.running  # each run has its share
        over = await running.end(1)
        assert (over.run, over.waiting) == (1, {"j1"})
        assert {run: set(specs) for run, specs in running._specs.items()} == {2: {"k0"}}

    told, _ = play(scenario)
    assert told.ended == []


def test_the_end_of_a_run_may_be_given_up_and_harms_no_other(play: Play) -> None:
    async def scenario(running: Driver[FakeFleet], fleet: FakeFleet, told: Told) -> None:
        other = Told(lambda: fleet)
        other.journal, other.history = told.journal, told.history
        running.begin(2, other, {})
        running.submit(1, new(jobs(1)))
        running.submit(2, new([(Request("k0", 0, "rule", 1, {"cores": 1}, run=2), JobSpec("k0", "{}"))]))
        await fleet.until(lambda: fleet.requested)
        await connect(running, "main-1")
        await fleet.until(lambda: len(fleet.running) == 2)

        async def never(address: str, keys: Collection[str], grace_s: float) -> None: ...

        fleet.end_jobs = never  # type: ignore[method-assign]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(running.end(1), 0.05)
        fleet.running["j0@at-main-1"].set_result(Outcome(End.SUCCEEDED))  # at last
        fleet.running["k0@at-main-1"].set_result(Outcome(End.SUCCEEDED))
        await fleet.until(lambda: other.ended)
        assert other.ended == [("k0", End.SUCCEEDED, "main-1")]
        assert not other.errors

    told, _ = play(scenario)
    assert told.ended == []
