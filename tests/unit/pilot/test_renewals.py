"""How a pilot keeps its lease, whatever becomes of its questions to the scheduler."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import SimpleNamespace

import pytest
from distributed import Client, LocalCluster, Worker

from snakemake_executor_daskjq.dask_cluster import dask_internals
from snakemake_executor_daskjq.launcher.lease import OPERATION, Lease, uptime_s
from snakemake_executor_daskjq.pilot.dask_internals import UnexpectedDaskError, check
from snakemake_executor_daskjq.pilot.jobs import PilotJobs, run_job, stop_jobs
from snakemake_executor_daskjq.pilot.process import PilotWorker
from snakemake_executor_daskjq.pilot.renewals import keep_renewing

LEASE_S = 0.12


class Scheduler:
    """Answers the questions of a pilot in turn, each as one of `answers` does; then `done` is set."""

    def __init__(self, *answers: Callable[[], Coroutine[None, None, bool]]) -> None:
        self._answers = iter(answers)
        self.asked: list[float] = []
        self.done = asyncio.Event()

    async def ask(self) -> bool:
        answer = next(self._answers, None)
        if answer is None:
            self.done.set()
            await asyncio.Event().wait()
        self.asked.append(uptime_s())
        assert answer is not None
        return await answer()


async def yes() -> bool:
    return True


async def no() -> bool:
    return False


async def never() -> bool:
    await asyncio.Event().wait()
    return True


async def fails() -> bool:
    raise OSError("Connection reset by peer")


async def is_broken() -> bool:
    raise RuntimeError("an error of the scheduler's own")


async def will_not_be_cancelled() -> bool:
    """As a connection of Dask's that waits for its last bytes to leave."""
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue


def granted(*answers: Callable[[], Coroutine[None, None, bool]]) -> tuple[list[float], list[float]]:
    """When the pilot asked, and what was renewed for these answers."""

    async def body() -> tuple[list[float], list[float]]:
        scheduler, renewed = Scheduler(*answers), list[float]()
        keeping = asyncio.create_task(keep_renewing(LEASE_S, scheduler.ask, renewed.append))
        await asyncio.wait_for(scheduler.done.wait(), 20)
        keeping.cancel()
        return scheduler.asked, renewed

    loop = asyncio.new_event_loop()  # asyncio.run would wait for the question that will not be cancelled
    try:
        return loop.run_until_complete(body())
    finally:
        loop.close()


def test_a_question_that_is_held_up_holds_up_no_other_and_its_answer_counts_from_when_it_was_asked() -> None:
    released = asyncio.Event()

    async def held_up() -> bool:
        await released.wait()
        return True

    async def releases() -> bool:
        released.set()
        return True

    asked, renewed = granted(held_up, no, releases, no)
    assert len(asked) == 4
    late, third = sorted(renewed)
    assert late <= asked[0]
    assert asked[1] < third <= asked[2]


def test_a_question_is_given_up_after_a_lease() -> None:
    ended = asyncio.Event()

    async def never_answered() -> bool:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return True

    async def body() -> list[float]:
        scheduler, renewed = Scheduler(never_answered), list[float]()
        keeping = asyncio.create_task(keep_renewing(LEASE_S, scheduler.ask, renewed.append))
        await asyncio.wait_for(ended.wait(), 20)
        keeping.cancel()
        return renewed

    assert asyncio.run(body()) == []


@pytest.mark.parametrize("answer", [no, never, fails, is_broken, will_not_be_cancelled])
def test_without_a_grant_nothing_is_renewed_and_the_next_question_comes(
    answer: Callable[[], Coroutine[None, None, bool]],
) -> None:
    asked, renewed = granted(answer, answer, yes)
    assert len(asked) == 3
    (renewal,) = renewed
    assert asked[1] < renewal <= asked[2]


def test_a_pilots_lease_reaches_the_hosts_that_are_there_and_those_to_come() -> None:
    jobs = PilotJobs()
    assert not jobs.lease.is_over(now=1e12)
    jobs.begin_lease(60.0)
    begun = jobs.lease.ends_at
    jobs.renew_lease(begun - 30.0)
    assert jobs.lease.ends_at == jobs.launchers._lease_until == begun + 30.0


def test_the_scheduler_grants_what_it_knows_and_takes_it_for_a_sign_of_life() -> None:
    async def body() -> tuple[bool, bool, bool]:
        async with LocalCluster(
            n_workers=0, protocol="tcp", host="127.0.0.1", dashboard_address=None, asynchronous=True
        ) as cluster:
            scheduler = cluster.scheduler
            dask_internals.serve(
                scheduler, OPERATION, lambda address: dask_internals.note_sign_of_life(scheduler, address)
            )
            options = {"host": "127.0.0.1", "dashboard": False, "nanny": False}
            async with PilotWorker(PilotJobs(), scheduler_ip=scheduler.address, **options) as worker:
                (state,) = scheduler.workers.values()
                state.last_seen = before = 1.0
                check(worker)
                known = await worker.renewed()
                heard_of = state.last_seen > before
                # As when the scheduler has given it up, and the worker has not heard of that yet.
                await scheduler.remove_worker(worker.address, stimulus_id="test", close=False)
                return known, heard_of, await worker.renewed()

    assert asyncio.run(asyncio.wait_for(body(), 60)) == (True, True, False)


def test_the_state_of_jobs_hangs_on_the_worker_that_runs_them() -> None:
    """Two pilots' workers in one process: to end the jobs of one leaves the other alone."""

    async def body() -> dict[str, bool]:
        async with LocalCluster(
            n_workers=0, protocol="tcp", host="127.0.0.1", dashboard_address=None, asynchronous=True
        ) as cluster:
            where = {"scheduler_ip": cluster.scheduler.address, "host": "127.0.0.1", "dashboard": False}
            async with (
                PilotWorker(PilotJobs(), name="one", **where) as one,
                PilotWorker(PilotJobs(), name="two", **where) as two,
                Client(cluster, asynchronous=True) as client,
            ):
                one.jobs.lease = Lease(1.0, renewed_at=0.0)  # over
                futures = {
                    worker.name: client.submit(
                        run_job,
                        "[]",
                        f"key of {worker.name}".encode(),
                        key=f"key of {worker.name}",
                        workers=[worker.address],
                        pure=False,
                    )
                    for worker in (one, two)
                }
                await client.gather(list(futures.values()))
                tasks = cluster.scheduler.tasks
                details = {
                    name: dask_internals.outcome_in(tasks[future.key].metadata).detail
                    for name, future in futures.items()
                }
                assert details["one"] == "its pilot was out of touch"
                assert "'list' object" in details["two"]  # it went as far as the job, which is none
                await client.run(stop_jobs, 0.0, workers=[one.address])
                return {worker.name: worker.jobs.launchers.stopped for worker in (one, two)}

    assert asyncio.run(asyncio.wait_for(body(), 60)) == {"one": True, "two": False}


def test_what_a_worker_lacks_is_told() -> None:
    with pytest.raises(UnexpectedDaskError, match=r"has no Worker.contact_address, which daskjq needs: install 'dist"):
        check(SimpleNamespace(scheduler=None))
    with pytest.raises(UnexpectedDaskError, match=r"no attribute 'executing'"):
        check(SimpleNamespace(scheduler=None, contact_address="", state=None))


def test_dask_lacks_nothing_and_what_it_lacks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    dask_internals.check()
    monkeypatch.setattr(dask_internals, "_USED", ((Worker, ("close", "no_such_thing")),))
    with pytest.raises(dask_internals.ClusterStartError, match=r"has no Worker.no_such_thing, which daskjq needs"):
        dask_internals.check()
    with pytest.raises(dask_internals.ClusterStartError, match=r"has no object.worker_spec, object.scheduler"):
        dask_internals.check_cluster(object())
