"""Guests of Dask workers: what they leave on a worker, and what they learn of others."""

from __future__ import annotations

import asyncio

from distributed import Client, LocalCluster

from snakemake_executor_daskjq.model.outcome import End, Outcome
from snakemake_executor_daskjq.pilot import visits

from ...awaiting import until


def test_a_visit_is_to_one_worker_and_ends_there_alone() -> None:
    """Two workers in one process, as of `LocalCluster(processes=False)`."""

    async def body() -> tuple[Outcome, Outcome]:
        async with (
            LocalCluster(
                n_workers=2,
                processes=False,
                threads_per_worker=1,
                protocol="tcp",
                host="127.0.0.1",
                dashboard_address=None,
                asynchronous=True,
            ) as cluster,
            Client(cluster, asynchronous=True) as client,
        ):
            first, second = await client.run(visits.renew, "mine", 60.0)
            await client.run(visits.end, "mine", 0.0, workers=[first])
            jobs = [client.submit(visits.run_job, "[]", "mine", workers=[one], pure=False) for one in (first, second)]
            lost, went_on = await asyncio.gather(*jobs)
            await client.run(visits.end, "mine", 0.0)
            return lost, went_on

    lost, went_on = asyncio.run(asyncio.wait_for(body(), 60))
    assert (lost.end, lost.detail) == (End.LOST, "its run was out of touch with the worker")
    assert went_on.detail.startswith("AttributeError")  # it went as far as the job, which is none


def test_a_guest_learns_what_others_tasks_use_and_not_what_jobs_of_guests_do() -> None:
    async def body() -> list[tuple[dict[str, int], dict[str, float]]]:
        async with (
            LocalCluster(
                n_workers=1,
                processes=False,
                threads_per_worker=4,
                resources={"GPU": 2},
                protocol="tcp",
                host="127.0.0.1",
                dashboard_address=None,
                asynchronous=True,
            ) as cluster,
            Client(cluster, asynchronous=True) as client,
        ):
            (worker,) = cluster.workers.values()
            keys = {"theirs": {"GPU": 0.5}, "plain": {}, f"{visits.KEY}job": {"GPU": 1}}
            futures = [client.submit(asyncio.sleep, 600, key=key, resources=held) for key, held in keys.items()]
            await until(lambda: len(worker.state.executing) == 3)
            answers = await client.run(visits.renew, "mine", 60.0)
            await client.run(visits.end, "mine", 0.0)
            for future in futures:
                future.release()
            return list(answers.values())

    assert asyncio.run(asyncio.wait_for(body(), 60)) == [({}, {"threads": 2, "GPU": 0.5})]
