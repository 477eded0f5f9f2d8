"""How the end of a job's Dask task is heard of, with a real Dask cluster in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import dask
import pytest
from distributed import Client, Scheduler, Worker, get_worker
from distributed.diagnostics.plugin import SchedulerPlugin

from snakemake_executor_daskjq.config.settings import ExecutorSettings, configure
from snakemake_executor_daskjq.dask_cluster import dask_internals, fleet
from snakemake_executor_daskjq.dask_cluster.fleet import DASK_CONFIG, Fleet, Watch
from snakemake_executor_daskjq.journal.journal import RunFolder
from snakemake_executor_daskjq.launcher.lease import Lease
from snakemake_executor_daskjq.model.job_spec import JobSpec
from snakemake_executor_daskjq.model.outcome import End, Outcome
from snakemake_executor_daskjq.pilot.dask_internals import tell_at_end
from snakemake_executor_daskjq.pilot.jobs import PilotJobs
from snakemake_executor_daskjq.pilot.process import PilotWorker

from ...awaiting import until

ENDED = Outcome(End.FAILED, exit_status=3, cpu_s=0.5, log_tail="its last words", detail="half a character: \udcff")


class Heard:
    """A `FleetListener`."""

    def __init__(self) -> None:
        self.pilots: list[str] = []
        self.heard: list[object] = []  # in this order

    def pilot_connected(self, pilot: str, address: str, host: str) -> None:
        self.pilots.append(pilot)

    def pilot_granted(self, pilot: str, cores: int) -> None: ...

    def pilot_disconnected(self, pilot: str) -> None:
        self.pilots.remove(pilot)
        self.heard.append(f"{pilot} is gone")


async def job(key: str) -> None:
    tell_at_end(get_worker(), key, ENDED.record())


async def defect(key: str) -> None:
    raise RuntimeError(f"no such thing as {key}")


async def silent(key: str) -> None: ...


async def endless(key: str) -> None:
    await asyncio.Event().wait()


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Watch, Scheduler, Worker, Client]]:
    where: dict[str, Any] = {"host": "127.0.0.1", "dashboard": False}
    watch = Watch(Heard())
    dask.config.set(DASK_CONFIG)  # as in a run
    async with Scheduler(protocol="tcp", port=0, dashboard_address=None, **where) as scheduler:
        scheduler.add_plugin(watch, name="daskjq")
        inside = await dask_internals.address_inside(scheduler)
        async with (
            Worker(scheduler.address, name="main-1", nthreads=4, **where) as worker,
            Client(inside, asynchronous=True, set_as_default=False) as client,
        ):
            yield watch, scheduler, worker, client


def outcome(task: Any, then: Any = None) -> Outcome:
    """What is heard of a task; `then` is done once it is under way."""

    async def scenario() -> Outcome:
        async with connected() as (watch, scheduler, worker, client):
            told = watch.expect("a#1", worker.address)
            assert told is not None
            future = client.submit(task, "a#1", key="a#1", pure=False)
            if then is not None:
                await until(lambda: any(state.state == "processing" for state in scheduler.tasks.values()))
                await then(scheduler, worker, future)
            heard = await told
            future.release()
            await until(lambda: not scheduler.tasks)
            assert not watch._outcomes
            assert not any(watch._under_way.values())
            return heard

    return asyncio.run(asyncio.wait_for(scenario(), 60))


def test_an_outcome_comes_with_the_end_of_its_task() -> None:
    assert outcome(job) == ENDED


def test_a_task_that_raises_is_a_lost_job_with_the_reason() -> None:
    assert outcome(defect) == Outcome(End.LOST, detail="RuntimeError('no such thing as a#1')")


def test_a_task_that_tells_nothing_is_a_lost_job() -> None:
    assert outcome(silent) == Outcome(End.LOST, detail="its task has ended without an outcome (KeyError)")


def test_a_cancelled_task_is_a_lost_job() -> None:
    async def cancel(scheduler: Scheduler, worker: Worker, future: Any) -> None:
        await future.cancel()

    assert outcome(endless, cancel) == Outcome(End.LOST, detail="its Dask future was cancelled")


def test_a_job_under_way_is_lost_with_its_pilot() -> None:
    async def lose(scheduler: Scheduler, worker: Worker, future: Any) -> None:
        await scheduler.remove_worker(worker.address, stimulus_id="gave no sign of life")

    assert outcome(endless, lose) == Outcome(End.LOST, detail="its pilot disconnected")


def test_a_pilot_that_is_lost_is_told_before_its_jobs_are() -> None:
    """Else the core takes the loss for the job's own, and starts it at once, beside what may still run of it."""

    async def scenario() -> list[object]:
        async with connected() as (watch, scheduler, worker, client):
            told = watch.expect("a#1", worker.address)
            assert told is not None
            heard = watch._listener.heard  # type: ignore[attr-defined]
            told.add_done_callback(lambda done: heard.append(done.result()))
            future = client.submit(endless, "a#1", key="a#1", pure=False)
            await until(lambda: any(state.state == "processing" for state in scheduler.tasks.values()))
            await scheduler.remove_worker(worker.address, stimulus_id="gave no sign of life")
            await until(lambda: len(heard) == 2)
            future.release()
            return list(heard)

    assert asyncio.run(asyncio.wait_for(scenario(), 60)) == [
        "main-1 is gone",
        Outcome(End.LOST, detail="its pilot disconnected"),
    ]


def test_what_a_pilot_with_another_daskjq_tells_is_a_lost_job() -> None:
    assert dask_internals.outcome_in({"daskjq": "[1, 2]"}).end is End.LOST
    assert dask_internals.outcome_in({"daskjq": ["no text"]}).end is End.LOST
    assert dask_internals.outcome_in(None).end is End.LOST


def test_a_graph_that_the_scheduler_refuses_loses_its_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> Outcome:
        one_fleet = Fleet(configure(ExecutorSettings()), RunFolder(tmp_path), Heard())
        async with connected() as (watch, _, worker, client):
            one_fleet._watch, one_fleet._client = watch, client
            looking = asyncio.create_task(one_fleet._look_at_futures())
            outcome = await one_fleet.run(worker.address, JobSpec("a", "{}"), {})
            looking.cancel()
            return outcome

    def refuse(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(fleet, "LOOK_S", 0.1)
    monkeypatch.setattr(Scheduler, "_create_taskstate_from_graph", refuse)
    outcome = asyncio.run(asyncio.wait_for(scenario(), 60))
    assert outcome == Outcome(End.LOST, detail="its Dask future has failed")


def test_nothing_is_expected_of_a_pilot_that_is_gone() -> None:
    async def scenario() -> object:
        async with connected() as (watch, scheduler, worker, _):
            await scheduler.remove_worker(worker.address, stimulus_id="gave no sign of life")
            return watch.expect("a#1", worker.address)

    assert asyncio.run(asyncio.wait_for(scenario(), 60)) is None


def test_messages_to_pilots_and_clients_go_together() -> None:
    async def scenario() -> tuple[float, float]:
        async with connected() as (_, scheduler, worker, _):
            dask_internals.batch_messages(scheduler, worker.address)
            (client,) = scheduler.client_comms.values()
            return scheduler.stream_comms[worker.address].interval, client.interval

    assert asyncio.run(asyncio.wait_for(scenario(), 60)) == (0.01, 0.1)


class Graphs(SchedulerPlugin):
    """How many tasks came with each graph."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def update_graph(self, scheduler: Scheduler, *, tasks: list[Any], **_: Any) -> None:
        self.sizes.append(len(tasks))


def test_jobs_that_start_together_are_one_graph_for_each_pilot(tmp_path: Path) -> None:
    async def scenario() -> tuple[list[int], list[Outcome]]:
        where: dict[str, Any] = {"host": "127.0.0.1", "dashboard": False}
        one_fleet = Fleet(configure(ExecutorSettings()), RunFolder(tmp_path), Heard())
        graphs = Graphs()
        async with Scheduler(protocol="tcp", port=0, dashboard_address=None, **where) as scheduler:
            scheduler.add_plugin(one_fleet._watch, name="daskjq")
            scheduler.add_plugin(graphs, name="graphs")
            pilots = [
                PilotWorker(PilotJobs(), scheduler_ip=scheduler.address, name=name, resources={"cores": 4}, **where)
                for name in ("one", "two")
            ]
            async with pilots[0] as one, pilots[1] as two, Client(scheduler.address, asynchronous=True) as client:
                one_fleet._client = client
                for pilot in (one, two):
                    pilot.jobs.lease = Lease(1.0, renewed_at=0.0)  # over, so each job is told as lost at once
                started = [
                    asyncio.create_task(one_fleet.run(pilot.address, JobSpec(key, "{}"), {"cores": 1}))
                    for key, pilot in (("a", one), ("b", one), ("c", two))
                ]
                outcomes = await asyncio.gather(*started)
                late = asyncio.create_task(one_fleet.run(two.address, JobSpec("d", "{}"), {"cores": 1}))
                await asyncio.sleep(0)  # it is expected, and not submitted
                await scheduler.remove_worker(two.address, stimulus_id="gave no sign of life")
                outcomes.append(await late)
                await until(lambda: not scheduler.tasks)
                return sorted(graphs.sizes), outcomes

    sizes, outcomes = asyncio.run(asyncio.wait_for(scenario(), 60))
    assert [outcome.detail for outcome in outcomes] == ["its pilot was out of touch"] * 3 + ["its pilot disconnected"]
    assert sizes == [1, 2]
