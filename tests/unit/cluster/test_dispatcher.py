"""The dispatcher against a fake fleet: what happens to jobs when pilots come, go and fail."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from snakemake_executor_daskjq import batch, journal
from snakemake_executor_daskjq.batch.base import Cause, Ended
from snakemake_executor_daskjq.cluster import roster
from snakemake_executor_daskjq.cluster.dispatcher import Dispatcher
from snakemake_executor_daskjq.cluster.roster import SUBMISSIONS_A_MINUTE
from snakemake_executor_daskjq.cluster.summary import Summary
from snakemake_executor_daskjq.errors import DaskjqError, NoPilotError
from snakemake_executor_daskjq.history import History, Usage
from snakemake_executor_daskjq.journal import Journal, RunFolder
from snakemake_executor_daskjq.model.outcome import PILOT_ENDS, End, Outcome
from snakemake_executor_daskjq.model.pool import Pool
from snakemake_executor_daskjq.model.request import Amounts, Launch, Request
from snakemake_executor_daskjq.policy import planner
from snakemake_executor_daskjq.policy.losses import CRASH_BUDGET

POOL = Pool("main", "local", cores=2, mem_mb=1000, max_pilots=3)


class FakeFleet:
    """Stands in for Dask: pilots are names, and the test decides how each job ends."""

    def __init__(self) -> None:
        self.requested: list[str] = []
        self.excluded: dict[str, tuple[str, ...]] = {}
        self.ended: list[str] = []
        self.running: dict[str, asyncio.Future[Outcome]] = {}
        self.changed = asyncio.Event()

    async def request(self, pilot: str, pool: Pool, excluded: tuple[str, ...]) -> None:
        self.requested.append(pilot)
        self.excluded[pilot] = excluded
        self.changed.set()

    async def end(self, pilot: str) -> None:
        self.ended.append(pilot)
        self.changed.set()

    async def run(self, address: str, launch: Launch, amounts: Amounts) -> Outcome:
        self.running[f"{launch.key}@{address}"] = asyncio.get_running_loop().create_future()
        self.changed.set()
        return await self.running[f"{launch.key}@{address}"]

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            await asyncio.wait_for(self.changed.wait(), 5)
            self.changed.clear()


class Told:
    def __init__(self, fleet: Callable[[], FakeFleet]) -> None:
        self.ended: list[tuple[str, End, str]] = []
        self.warnings: list[str] = []
        self.errors: list[DaskjqError] = []
        self._fleet = fleet

    def job_ended(self, request: Request, outcome: Outcome, pilot: str) -> None:
        self.ended.append((request.key, outcome.end, pilot))
        self._fleet().changed.set()

    def tell(self, text: str) -> None: ...

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def give_up(self, error: DaskjqError) -> None:
        self.errors.append(error)
        self._fleet().changed.set()


def jobs(count: int, cores: int = 1) -> list[tuple[Request, Launch]]:
    def job(number: int) -> tuple[Request, Launch]:
        key = f"j{number}"
        return Request(key, number, "rule", 1, {"cores": cores}), Launch(key, (), (), "/", "/log", "python")

    return [job(number) for number in range(count)]


Scenario = Callable[[Dispatcher[FakeFleet], FakeFleet, Told], Awaitable[None]]


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Told, list[dict[str, object]]]]:
    monkeypatch.setattr(roster, "FENCE_S", 0.2)
    monkeypatch.setattr(roster, "WAKE_S", 0.1)

    def run(scenario: Scenario, *pools: Pool) -> tuple[Told, list[dict[str, object]]]:
        folder = RunFolder(tmp_path)
        folder.create()

        async def body() -> Told:
            told = Told(lambda: dispatcher.fleet)
            log = Journal(folder.journal_path, told.warn)
            dispatcher = Dispatcher(
                pools or (POOL,), lambda _: FakeFleet(), told, log, folder, Summary(), History(folder.history_path)
            )
            await scenario(dispatcher, dispatcher.fleet, told)
            await dispatcher.close()
            log.close()
            return told

        told = asyncio.run(body())
        return told, list(journal.read(folder.journal_path))

    return run


def unfinished(fleet: FakeFleet, key: str) -> list[asyncio.Future[Outcome]]:
    return [f for name, f in fleet.running.items() if name.startswith(f"{key}@") and not f.done()]


async def connect(dispatcher: Dispatcher[FakeFleet], pilot: str) -> None:
    dispatcher.roster.pilot_submitted(pilot, "1")
    dispatcher.roster.pilot_connected(pilot, f"at-{pilot}", "host")


def test_a_job_runs_on_a_pilot_and_is_reported_once(play: Callable[..., tuple[Told, list[dict[str, object]]]]) -> None:
    async def scenario(dispatcher: Dispatcher[FakeFleet], fleet: FakeFleet, told: Told) -> None:
        dispatcher.submit(jobs(1))
        await fleet.until(lambda: fleet.requested == ["main-1"])
        await connect(dispatcher, "main-1")
        await fleet.until(lambda: fleet.running)
        fleet.running["j0@at-main-1"].set_result(Outcome(End.SUCCEEDED, exit_status=0))
        await fleet.until(lambda: told.ended)

    told, events = play(scenario)
    assert told.ended == [("j0", End.SUCCEEDED, "main-1")]
    names = [event["event"] for event in events]
    assert names == [
        "job_submitted",
        "planned",
        "pilot_requested",
        "pilot_submitted",
        "pilot_started",
        "job_placed",
        "job_ended",
        "pilot_ended",
    ]


def test_never_more_on_a_pilot_than_it_has(play: Callable[..., tuple[Told, list[dict[str, object]]]]) -> None:
    async def scenario(dispatcher: Dispatcher[FakeFleet], fleet: FakeFleet, told: Told) -> None:
        dispatcher.submit(jobs(9))
        await fleet.until(lambda: fleet.requested)
        await connect(dispatcher, "main-1")
        for done in range(9):
            await fleet.until(lambda: [f for f in fleet.running.values() if not f.done()])
            busy = [future for future in fleet.running.values() if not future.done()]
            assert len(busy) <= 2
            busy[0].set_result(Outcome(End.SUCCEEDED, exit_status=0, started_at=1.0, ended_at=9.0))
            await fleet.until(lambda done=done: len(told.ended) == done + 1)

    told, _ = play(scenario)
    assert sorted(key for key, _, _ in told.ended) == [f"j{i}" for i in range(9)]


def test_a_lost_job_goes_elsewhere_until_its_budget_is_spent(
    play: Callable[..., tuple[Told, list[dict[str, object]]]],
) -> None:
    async def scenario(dispatcher: Dispatcher[FakeFleet], fleet: FakeFleet, told: Told) -> None:
        dispatcher.submit(jobs(1))
        for serial in range(1, CRASH_BUDGET + 1):
            pilot = f"main-{serial}"
            await fleet.until(lambda pilot=pilot: pilot in fleet.requested)
            await connect(dispatcher, pilot)
            await fleet.until(lambda pilot=pilot: f"j0@at-{pilot}" in fleet.running)
            dispatcher.roster.pilot_disconnected(pilot)
            fleet.running[f"j0@at-{pilot}"].set_result(Outcome(End.LOST, detail="gone"))
        await fleet.until(lambda: told.ended)

    told, events = play(scenario)
    assert told.ended == [("j0", End.LOST, "main-3")]
    assert [event["reported"] for event in events if event["event"] == "job_ended"] == [False, False, True]
    assert [event["jobs"] for event in events if event["event"] == "pilot_lost"] == [["j0"]] * 3


def test_a_lost_job_starts_elsewhere_only_when_its_pilot_is_known_dead(
    play: Callable[..., tuple[Told, list[dict[str, object]]]],
) -> None:
    async def scenario(dispatcher: Dispatcher[FakeFleet], fleet: FakeFleet, told: Told) -> None:
        dispatcher.submit(jobs(3))
        await fleet.until(lambda: fleet.requested)
        await connect(dispatcher, "main-1")
        await fleet.until(lambda: "j0@at-main-1" in fleet.running)
        dispatcher.roster.pilot_disconnected("main-1")
        for future in fleet.running.values():
            future.set_result(Outcome(End.LOST, detail="its pilot disconnected"))
        await fleet.until(lambda: "main-2" in fleet.requested)
        await connect(dispatcher, "main-2")
        await fleet.until(lambda: "j0@at-main-2" in fleet.running)

    _, events = play(scenario)
    times = {event["event"]: event["t"] for event in events if event["event"] in ("pilot_lost", "pilot_gone")}
    again = [event["t"] for event in events if event["event"] == "job_placed" and event["tries"] == 2]
    assert again
    assert min(again) >= times["pilot_gone"]
    assert times["pilot_gone"] - times["pilot_lost"] >= 0.2


def test_a_pilot_that_is_told_to_end_gets_no_more_jobs_and_is_no_jobs_fault(
    play: Callable[..., tuple[Told, list[dict[str, object]]]],
) -> None:
    async def scenario(dispatcher: Dispatcher[FakeFleet], fleet: FakeFleet, told: Told) -> None:
        dispatcher.submit(jobs(1))
        for serial in range(1, CRASH_BUDGET + 2):
            pilot = f"main-{serial}"
            await fleet.until(lambda pilot=pilot: pilot in fleet.requested)
            await connect(dispatcher, pilot)
            await fleet.until(lambda pilot=pilot: f"j0@at-{pilot}" in fleet.running)
            end = Outcome(End.LOST, detail=PILOT_ENDS) if serial <= CRASH_BUDGET else Outcome(End.SUCCEEDED)
            fleet.running[f"j0@at-{pilot}"].set_result(end)
        await fleet.until(lambda: told.ended)

    told, events = play(scenario)
    assert told.ended == [("j0", End.SUCCEEDED, f"main-{CRASH_BUDGET + 1}")]
    ends = [event["why"] for event in events if event["event"] == "pilot_ended"]
    assert ends == ["told to end by the batch system"] * CRASH_BUDGET + ["run ended"]
    assert told.warnings == [
        f"Pilot main-{serial} was told to end by the batch system; its jobs run elsewhere."
        for serial in range(1, CRASH_BUDGET + 1)
    ]


def test_before_its_last_try_a_suspect_gets_a_pilot_of_its_own(
    play: Callable[..., tuple[Told, list[dict[str, object]]]],
) -> None:
    async def scenario(dispatcher: Dispatcher[FakeFleet], fleet: FakeFleet, told: Told) -> None:
        dispatcher.submit(jobs(2))
        await fleet.until(lambda: fleet.requested)
        await connect(dispatcher, "main-1")
        for tries in range(1, CRASH_BUDGET):
            await fleet.until(lambda: unfinished(fleet, "j0"))
            unfinished(fleet, "j0")[0].set_result(Outcome(End.LOST, detail=f"the rule host is gone {tries}"))
        fleet.changed.clear()
        await fleet.until(lambda: len(fleet.running) >= 2 and unfinished(fleet, "j1"))
        assert not unfinished(fleet, "j0")  # it waits until both cores are free
        unfinished(fleet, "j1")[0].set_result(Outcome(End.SUCCEEDED))
        await fleet.until(lambda: unfinished(fleet, "j0"))
        unfinished(fleet, "j0")[0].set_result(Outcome(End.LOST, detail="the rule host is gone again"))
        await fleet.until(lambda: len(told.ended) == 2)

    told, _ = play(scenario)
    assert told.ended == [("j1", End.SUCCEEDED, "main-1"), ("j0", End.LOST, "main-1")]


def test_hopeless_words_give_up_at_once(play: Callable[..., tuple[Told, list[dict[str, object]]]]) -> None:
    async def scenario(dispatcher: Dispatcher[FakeFleet], fleet: FakeFleet, told: Told) -> None:
        dispatcher.submit(jobs(1))
        await fleet.until(lambda: fleet.requested)
        dispatcher.roster.pilot_start_failed("main-1", "sbatch: error: invalid partition specified: nosuch")
        await fleet.until(lambda: told.errors)

    told, _ = play(scenario)
    (error,) = told.errors
    assert isinstance(error, NoPilotError)
    assert "invalid partition specified: nosuch" in str(error)
    assert len(told.warnings) == 1


def test_a_pilot_that_comes_late_is_used(play: Callable[..., tuple[Told, list[dict[str, object]]]]) -> None:
    async def scenario(dispatcher: Dispatcher[FakeFleet], fleet: FakeFleet, told: Told) -> None:
        slow = [(Request(r.key, r.job_id, r.rule, 1, r.amounts, runtime_s=3600), launch) for r, launch in jobs(4)]
        dispatcher.submit(slow)
        await fleet.until(lambda: len(fleet.requested) == 2)
        await connect(dispatcher, "main-1")
        await fleet.until(lambda: len(fleet.running) == 2)
        await connect(dispatcher, "main-2")
        await fleet.until(lambda: len(fleet.running) == 4)

    _, events = play(scenario)
    assert [event["pilot"] for event in events if event["event"] == "job_placed"] == ["main-1"] * 2 + ["main-2"] * 2


def test_short_jobs_keep_one_more_of_their_kind_at_the_pilot(
    play: Callable[..., tuple[Told, list[dict[str, object]]]],
) -> None:
    async def scenario(dispatcher: Dispatcher[FakeFleet], fleet: FakeFleet, told: Told) -> None:
        dispatcher.submit(jobs(20))
        await fleet.until(lambda: fleet.requested)
        await connect(dispatcher, "main-1")
        await fleet.until(lambda: len(fleet.running) == 2)  # nothing is known yet of how long they take
        for done in range(20):
            await fleet.until(lambda: [f for f in fleet.running.values() if not f.done()])
            busy = [future for future in fleet.running.values() if not future.done()]
            assert len(busy) <= 4  # one that runs and one ahead for each of two cores
            busy[0].set_result(Outcome(End.SUCCEEDED, exit_status=0, started_at=1.0, ended_at=1.1))
            await fleet.until(lambda done=done: len(told.ended) == done + 1)
            most.append(len([f for f in fleet.running.values() if not f.done()]))

    most: list[int] = []
    told, _ = play(scenario)
    assert sorted(key for key, _, _ in told.ended) == sorted(f"j{i}" for i in range(20))
    assert max(most) >= 3


def test_24_jobs_of_a_second_with_a_pilot_that_joins_after_one(
    play: Callable[..., tuple[Told, list[dict[str, object]]]],
) -> None:
    """Seconds are counted by the test: in each, all that runs ends. Two slots first, then four: 7 s is ideal."""

    async def scenario(dispatcher: Dispatcher[FakeFleet], fleet: FakeFleet, told: Told) -> None:
        dispatcher.submit(jobs(24, cores=2))
        await fleet.until(lambda: len(fleet.requested) == 2)
        await connect(dispatcher, "main-1")
        seconds = 0
        while len(told.ended) < 24:
            slots = 2 if seconds < 1 else 4
            started = min(slots, 24 - len(told.ended))
            done = len(told.ended) + started
            await fleet.until(lambda started=started: len(busy(fleet)) == started)
            for future in busy(fleet):
                future.set_result(Outcome(End.SUCCEEDED, exit_status=0, started_at=1.0, ended_at=2.0))
            seconds += 1
            if seconds == 1:
                await connect(dispatcher, "main-2")
            await fleet.until(lambda done=done: len(told.ended) == done)
        assert seconds == 7

    def busy(fleet: FakeFleet) -> list[asyncio.Future[Outcome]]:
        return [future for future in fleet.running.values() if not future.done()]

    _, events = play(scenario, Pool("main", "local", cores=4, mem_mb=1000, max_pilots=2))
    assert {event["pilot"] for event in events if event["event"] == "job_placed"} == {"main-1", "main-2"}


def test_with_several_pools_the_program_decides_and_its_answer_is_requested(
    play: Callable[..., tuple[Told, list[dict[str, object]]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "SOLVE_S", 60.0)  # the answer counts here, also on a busy machine
    cpu = Pool("cpu", "slurm", cores=8, mem_mb=8000, cost_per_hour=6.0)
    mem = Pool("mem", "slurm", cores=2, mem_mb=64000, cost_per_hour=6.0)
    both = Pool("both", "slurm", cores=8, mem_mb=64000, cost_per_hour=8.0)

    async def scenario(dispatcher: Dispatcher[FakeFleet], fleet: FakeFleet, told: Told) -> None:
        launch = Launch("k", (), (), "/", "/log", "python")
        amounts = [{"cores": 1, "mem_mb": 100}] * 6 + [{"cores": 1, "mem_mb": 30000}]
        requests = [Request(f"j{i}", i, "rule", 1, wanted, runtime_s=3600) for i, wanted in enumerate(amounts)]
        dispatcher.submit([(request, launch) for request in requests])
        await fleet.until(lambda: fleet.requested)

    _, events = play(scenario, cpu, mem, both)
    (planned,) = [event for event in events if event["event"] == "planned"]
    assert (planned["more"], planned["method"]) == ({"both": 1}, "program")
    assert float(str(planned["seconds"])) > 0


def test_a_rule_that_states_no_memory_gets_its_earlier_peak_set_aside(
    play: Callable[..., tuple[Told, list[dict[str, object]]]], tmp_path: Path
) -> None:
    history = History(RunFolder(tmp_path).history_path)
    history.learn("rule", Usage(1, 5.0, 5.0, 480.0, 1.0))
    history.save()

    async def scenario(dispatcher: Dispatcher[FakeFleet], fleet: FakeFleet, told: Told) -> None:
        dispatcher.submit(jobs(2))
        stated = Request("s", 9, "rule", 1, {"cores": 1, "mem_mb": 100})
        dispatcher.submit([(stated, Launch("s", (), (), "/", "/log", "python"))])
        await fleet.until(lambda: fleet.requested)
        await connect(dispatcher, "main-1")
        await fleet.until(lambda: len(fleet.running) == 2)

    _, events = play(scenario)
    asked = [event["amounts"] for event in events if event["event"] == "job_submitted"]
    assert asked == [{"cores": 1, "mem_mb": 600}, {"cores": 1, "mem_mb": 600}, {"cores": 1, "mem_mb": 100}]
    placed = [str(event["key"]) for event in events if event["event"] == "job_placed"]
    assert sorted(placed) == ["j0", "s"]  # 1000 MB hold one of 600 and one of 100


def test_no_more_than_so_many_pilots_are_requested_within_a_minute(
    play: Callable[..., tuple[Told, list[dict[str, object]]]],
) -> None:
    pools = [Pool(name, "slurm", cores=1, mem_mb=1000, max_pilots=100) for name in ("one", "two")]

    async def scenario(dispatcher: Dispatcher[FakeFleet], fleet: FakeFleet, told: Told) -> None:
        launch = Launch("k", (), (), "/", "/log", "python")
        for name in ("one", "two"):
            requests = [Request(f"{name}{i}", i, "r", 1, {"cores": 1}, 3600, pools=(name,)) for i in range(40)]
            dispatcher.submit([(request, launch) for request in requests])
        await fleet.until(lambda: len(fleet.requested) >= SUBMISSIONS_A_MINUTE)

    _, events = play(scenario, *pools)
    assert len([event for event in events if event["event"] == "pilot_requested"]) == SUBMISSIONS_A_MINUTE


def test_a_job_of_another_shape_does_not_give_its_room_to_one_ahead(
    play: Callable[..., tuple[Told, list[dict[str, object]]]],
) -> None:
    """Short one-core jobs with one more each at the pilot; then a job of both cores gets exactly two."""

    async def scenario(dispatcher: Dispatcher[FakeFleet], fleet: FakeFleet, told: Told) -> None:
        dispatcher.submit(jobs(12))
        await fleet.until(lambda: fleet.requested)
        await connect(dispatcher, "main-1")
        wide = Request("wide", 99, "wide", 1, {"cores": 2})
        while len(told.ended) < 13:
            done = len(told.ended)
            if done == 4:
                dispatcher.submit([(wide, Launch("wide", (), (), "/", "/log", "python"))])
            await fleet.until(lambda: [f for f in fleet.running.values() if not f.done()])
            held = sum(a["cores"] for _, a in dispatcher.roster.pilots["main-1"].room.bookings.values())  # type: ignore[union-attr]
            assert held <= 2
            next(f for f in fleet.running.values() if not f.done()).set_result(
                Outcome(End.SUCCEEDED, exit_status=0, started_at=1.0, ended_at=1.1)
            )
            await fleet.until(lambda done=done: len(told.ended) > done)
        room = dispatcher.roster.pilots["main-1"].room
        assert room is not None
        assert room.free == {"cores": 2, "mem_mb": 1000}

    told, _ = play(scenario)
    assert len(told.ended) == 13


def test_hosts_on_which_pilots_crash_get_no_more_of_them(
    play: Callable[..., tuple[Told, list[dict[str, object]]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def how_ended(batch_id: str, patience_s: float) -> Ended:
        return Ended("NODE_FAIL", Cause.CRASH)

    async def until_gone(batch_id: str, patience_s: float) -> bool:
        return True

    # What Slurm would say; tests/batch has a real one.
    monkeypatch.setattr(batch.system("slurm"), "how_ended", how_ended)
    monkeypatch.setattr(batch.system("slurm"), "until_gone", until_gone)

    async def scenario(dispatcher: Dispatcher[FakeFleet], fleet: FakeFleet, told: Told) -> None:
        async def start(pilot: str, host: str) -> None:
            await fleet.until(lambda: pilot in fleet.requested)
            dispatcher.roster.pilot_submitted(pilot, "1")
            dispatcher.roster.pilot_connected(pilot, f"at-{pilot}", host)

        long = [(Request(r.key, r.job_id, r.rule, 1, r.amounts, runtime_s=3600), launch) for r, launch in jobs(6)]
        dispatcher.submit(long)
        for pilot, host in (("slurm-1", "good"), ("slurm-2", "bad"), ("slurm-3", "bad")):
            await start(pilot, host)
        for pilot in ("slurm-2", "slurm-3"):
            dispatcher.roster.pilot_disconnected(pilot)
        await fleet.until(lambda: "slurm-5" in fleet.requested)
        await fleet.until(lambda: any("gets no more" in warning for warning in told.warnings))
        await start("slurm-4", "bad")  # it was in the queue already
        await fleet.until(lambda: "slurm-4" in fleet.ended)
        await fleet.until(lambda: fleet.excluded[fleet.requested[-1]] == ("bad",))

    _, events = play(scenario, Pool("slurm", "slurm", cores=2, mem_mb=1000, walltime_s=7200, max_pilots=3))
    assert [(event["host"], event["crashes"]) for event in events if event["event"] == "host_excluded"] == [("bad", 2)]
    assert "slurm-4" not in {event["pilot"] for event in events if event["event"] == "job_placed"}


SLURM = Pool("slurm", "slurm", cores=2, mem_mb=1000, walltime_s=60, max_pilots=3)


@pytest.fixture
def no_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Slurm that says nothing of how batch jobs ended."""

    async def how_ended(batch_id: str, patience_s: float) -> Ended:
        return Ended("", Cause.UNKNOWN)

    async def until_gone(batch_id: str, patience_s: float) -> bool:
        return True

    monkeypatch.setattr(batch.system("slurm"), "how_ended", how_ended)
    monkeypatch.setattr(batch.system("slurm"), "until_gone", until_gone)


@pytest.mark.usefixtures("no_records")
def test_an_end_of_which_nobody_knows_the_cause_is_no_crash(
    play: Callable[..., tuple[Told, list[dict[str, object]]]],
) -> None:
    async def scenario(dispatcher: Dispatcher[FakeFleet], fleet: FakeFleet, told: Told) -> None:
        dispatcher.submit(jobs(1))
        for serial in range(1, CRASH_BUDGET + 2):
            pilot = f"slurm-{serial}"
            await fleet.until(lambda pilot=pilot: pilot in fleet.requested)
            await connect(dispatcher, pilot)
            await fleet.until(lambda pilot=pilot: f"j0@at-{pilot}" in fleet.running)
            if serial == CRASH_BUDGET:
                dispatcher.roster.pilots[pilot].connected_at -= SLURM.walltime_s or 0
            if serial <= CRASH_BUDGET:
                dispatcher.roster.pilot_disconnected(pilot)
            end = Outcome(End.LOST, detail="gone") if serial <= CRASH_BUDGET else Outcome(End.SUCCEEDED)
            fleet.running[f"j0@at-{pilot}"].set_result(end)
        await fleet.until(lambda: told.ended)

    told, events = play(scenario, SLURM)
    assert [end for _, end, _ in told.ended] == [End.SUCCEEDED]
    gone = [event["how"] for event in events if event["event"] == "pilot_gone"]
    assert gone == [""] * (CRASH_BUDGET - 1) + ["over its walltime"]
    assert not [event for event in events if event["event"] == "host_excluded"]


def test_a_pilot_that_was_granted_too_little_is_told_once_a_pool(
    play: Callable[..., tuple[Told, list[dict[str, object]]]],
) -> None:
    async def scenario(dispatcher: Dispatcher[FakeFleet], fleet: FakeFleet, told: Told) -> None:
        dispatcher.submit(jobs(1))
        await fleet.until(lambda: fleet.requested)
        dispatcher.roster.pilot_granted("slurm-1", 2)
        assert told.warnings == []
        dispatcher.roster.pilot_granted("slurm-1", 1)
        dispatcher.roster.pilot_granted("slurm-1", 1)
        dispatcher.roster.pilot_granted("unknown-1", 1)

    told, _ = play(scenario, replace(SLURM, system="sge"))
    (warning,) = told.warnings
    assert warning.startswith("Pilot slurm-1 was granted 1 core, but its pool slurm offers 2 to jobs")
    assert warning.endswith("lists them).")


def test_a_start_that_has_failed_in_the_queue_is_told_counted_and_cancelled(
    play: Callable[..., tuple[Told, list[dict[str, object]]]],
) -> None:
    async def scenario(dispatcher: Dispatcher[FakeFleet], fleet: FakeFleet, told: Told) -> None:
        dispatcher.submit(jobs(1))
        await fleet.until(lambda: fleet.requested)
        dispatcher.roster.pilot_submitted("sge-1", "74")
        dispatcher.roster._pilot_is_broken("sge-1", "error: can't chdir to /nonexistent")
        await fleet.until(lambda: fleet.ended == ["sge-1"])

    told, events = play(scenario, replace(SLURM, name="sge", system="sge"))
    assert "sge-1 could not be started: batch job 74 failed to start: error: can't chdir" in told.warnings[0]
    assert [event["words"] for event in events if event["event"] == "pilot_failed"] == [
        "batch job 74 failed to start: error: can't chdir to /nonexistent"
    ]
