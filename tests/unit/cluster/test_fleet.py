"""How the end of a job's Dask future is heard of, with a real Dask cluster in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from distributed import Client, LocalCluster

from snakemake_executor_daskjq.cluster import fleet
from snakemake_executor_daskjq.cluster.fleet import outcome_of
from snakemake_executor_daskjq.model.outcome import End, Outcome

LOST = Outcome(End.LOST, detail="its pilot disconnected")


def succeed() -> Outcome:
    return Outcome(End.SUCCEEDED)


@asynccontextmanager
async def connected() -> AsyncIterator[Client]:
    where = {"protocol": "tcp", "host": "127.0.0.1", "dashboard_address": None}
    async with (
        LocalCluster(n_workers=1, processes=False, asynchronous=True, **where) as cluster,
        Client(cluster, asynchronous=True, set_as_default=False, direct_to_workers=True) as client,
    ):
        yield client


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def test_a_lost_pilot_takes_no_other_jobs_result_with_it() -> None:
    """Dask asks for results in batches, a few at a time: here all of those are held up, and one batch waits."""

    async def scenario() -> tuple[Outcome, Outcome]:
        gone, never = (asyncio.get_running_loop().create_future() for _ in range(2))
        async with connected() as client:
            held = client._gather_semaphore
            places = held._value
            for _ in range(places):
                await held.acquire()
            of_lost, of_kept = (client.submit(succeed, pure=False, key=key) for key in ("lost", "kept"))
            lost = asyncio.create_task(outcome_of(of_lost, gone, LOST.detail))
            await until(lambda: client._gather_keys == {"lost"})
            kept = asyncio.create_task(outcome_of(of_kept, never, ""))
            await until(lambda: client._gather_keys == {"lost", "kept"})
            gone.set_result(None)
            outcome = await lost
            for _ in range(places):
                held.release()
            return outcome, await kept

    assert asyncio.run(asyncio.wait_for(scenario(), 60)) == (LOST, succeed())


def test_a_job_that_was_under_way_is_lost_with_its_pilot_and_waited_for_no_more() -> None:
    async def scenario() -> Outcome:
        gone = asyncio.get_running_loop().create_future()
        async with connected() as client:
            lost = asyncio.create_task(outcome_of(client.submit(succeed, resources={"none": 1}), gone, LOST.detail))
            await until(lambda: fleet._results)
            gone.set_result(None)
            await until(lambda: not fleet._results)
            return await lost

    assert asyncio.run(asyncio.wait_for(scenario(), 60)) == LOST
