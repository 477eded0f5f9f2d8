"""How the end of a job's Dask future is heard of from a foreign scheduler, with a real Dask cluster in this process."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from distributed import Client, LocalCluster

from snakemake_executor_daskjq.dask_cluster import external
from snakemake_executor_daskjq.dask_cluster.external import outcome_of
from snakemake_executor_daskjq.model.outcome import End, Outcome

from ...awaiting import until

LOST = Outcome(End.LOST, detail="its pilot disconnected")


def succeed() -> Outcome:
    return Outcome(End.SUCCEEDED)


@asynccontextmanager
async def connected(workers: int = 1, *, processes: bool = False) -> AsyncIterator[Client]:
    where = {"protocol": "tcp", "host": "127.0.0.1", "dashboard_address": None}
    async with (
        LocalCluster(
            n_workers=workers, processes=processes, threads_per_worker=1, asynchronous=True, **where
        ) as cluster,
        Client(cluster, asynchronous=True, set_as_default=False, direct_to_workers=True) as client,
    ):
        yield client


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
            (address,) = await client.run(os.getpid)
            lost = asyncio.create_task(outcome_of(of_lost, address, gone, LOST.detail))
            await until(lambda: client._gather_keys == {"lost"})
            kept = asyncio.create_task(outcome_of(of_kept, address, never, ""))
            await until(lambda: client._gather_keys == {"lost", "kept"})
            gone.set_result(None)
            outcome = await lost
            for _ in range(places):
                held.release()
            return outcome, await kept

    assert asyncio.run(asyncio.wait_for(scenario(), 60)) == (LOST, succeed())


def test_a_stopped_pilot_holds_up_other_jobs_results_only_until_it_is_given_up() -> None:
    async def scenario() -> tuple[Outcome, Outcome]:
        gone, never = (asyncio.get_running_loop().create_future() for _ in range(2))
        async with connected(2, processes=True) as client:
            pids = await client.run(os.getpid)
            futures = {address: client.submit(succeed, pure=False, workers=[address]) for address in pids}
            await until(lambda: all(future.done() for future in futures.values()))
            stopped, going = futures
            os.kill(pids[stopped], signal.SIGSTOP)
            try:
                lost = asyncio.create_task(outcome_of(futures[stopped], stopped, gone, LOST.detail))
                kept = asyncio.create_task(outcome_of(futures[going], going, never, ""))
                await until(lambda: client.rpc.active or client.rpc._connecting)
                assert not kept.done()
                await client.cluster.scheduler.remove_worker(stopped, stimulus_id="gave no sign of life")
                gone.set_result(None)
                return await lost, await kept
            finally:
                with suppress(ProcessLookupError):  # its nanny may have ended it
                    os.kill(pids[stopped], signal.SIGCONT)

    assert asyncio.run(asyncio.wait_for(scenario(), 20)) == (LOST, succeed())


def test_a_job_that_was_under_way_is_lost_with_its_pilot_and_waited_for_no_more() -> None:
    async def scenario() -> Outcome:
        gone = asyncio.get_running_loop().create_future()
        async with connected() as client:
            (address,) = await client.run(os.getpid)
            future = client.submit(succeed, resources={"none": 1})
            lost = asyncio.create_task(outcome_of(future, address, gone, LOST.detail))
            await until(lambda: external._results)
            gone.set_result(None)
            await until(lambda: not external._results)
            return await lost

    assert asyncio.run(asyncio.wait_for(scenario(), 60)) == LOST
