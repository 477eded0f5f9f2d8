"""Jobs on the workers of a Dask scheduler that runs already, whoever it belongs to.

A guest brings no pilots: a worker that is there takes the part of one, with its threads as cores, its memory limit
and its resources as amounts. What must hold: nothing of others is touched. Workers are never started, retired or
restarted, no plugin is left at the scheduler, and only the run's own keys are released. Workers stop the run's
jobs by themselves when nobody renews the run's visit (`pilot.visits`).

What others' tasks use of a worker is looked at every `LOOK_S` and counts as taken; between two looks both may start
something there. Does not cover: memory that others' tasks use, for they don't say how much. A worker of a kind (cores,
memory, resources) that was not there at the start is not used.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import json
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from distributed import Client

from ..batch import EXTERNAL
from ..errors import ClusterStartError
from ..model.outcome import PILOT_GONE, End, Outcome
from ..model.pool import Pool
from ..pilot import visits
from . import dask_internals, declared
from .fleet import DaskLog, FleetListener

if TYPE_CHECKING:
    from ..journal.journal import RunFolder
    from ..model.job_spec import JobSpec
    from ..model.request import Amounts

LOOK_S = 2.0
"""Between two looks at the scheduler's workers. It tells its guests nothing by itself."""


def pools(scheduler: str) -> tuple[Pool, ...]:
    """A pool for each kind of worker that the scheduler has. Raises ClusterStartError where there is none."""
    return asyncio.run(_pools(scheduler))


async def _pools(scheduler: str) -> tuple[Pool, ...]:
    client = await _connect(scheduler)
    try:
        workers = await dask_internals.workers(client)
    finally:
        await client.close()
    kinds: dict[str, list[dict[str, Any]]] = {}
    for worker in workers.values():
        kinds.setdefault(_kind(worker), []).append(worker)
    if not kinds:
        raise ClusterStartError(f"The Dask scheduler {scheduler} has no workers: start some first.")
    return tuple(
        Pool(
            name="workers" if len(kinds) == 1 else f"workers-{number}",
            system=EXTERNAL,
            min_pilots=len(alike),  # they are there anyway
            max_pilots=len(alike),
            **declared.as_pool(declared.offered(alike[0])),
        )
        for number, alike in enumerate(kinds.values(), 1)
    )


class GuestListener(FleetListener, Protocol):
    """Who wants to know of workers that others use, too."""

    def pilot_shared(self, pilot: str, others: Amounts) -> None: ...


class Guest:
    """Futures on the workers of a foreign scheduler. The same methods as `Fleet`."""

    dashboard_link = None

    def __init__(self, scheduler: str, lease_s: float, folder: RunFolder, listener: GuestListener) -> None:
        self._scheduler = scheduler
        self._lease_s = lease_s
        self._folder = folder
        self._listener = listener
        self._run = _name_of_visit(folder)
        self._serial = itertools.count(1)
        self._workers: dict[str, dict[str, Any]] = {}
        self._asked: dict[str, Pool] = {}  # pilots that have no worker yet
        self._pilots: dict[str, str] = {}  # by their worker's address
        self._gone: dict[str, asyncio.Future[None]] = {}
        self._refused: dict[str, Exception] = {}
        self._others: dict[str, Amounts] = {}  # what others use, by address
        self._client: Any = None

    async def start(self) -> None:
        """Connect. Raises ClusterStartError."""
        dask_internals.check()
        self._log = DaskLog(self._folder.dask_log)
        self._client = await _connect(self._scheduler)
        await self._look()
        self._looking = asyncio.create_task(self._keep_looking())

    async def request(self, pilot: str, pool: Pool, excluded: tuple[str, ...] = ()) -> None:
        """Have a worker of the pool's kind take the part of `pilot`, now or when there is one."""
        self._asked[pilot] = pool
        self._settle(excluded)

    async def end(self, pilot: str) -> None:
        """Let the pilot's worker be: it goes on as if it had never been used."""
        self._asked.pop(pilot, None)
        for address, name in list(self._pilots.items()):
            if name == pilot:
                del self._pilots[address]

    async def run(self, address: str, spec: JobSpec, amounts: Amounts) -> Outcome:
        """Run a job as a future on one worker. What the worker can't tell is a lost job."""
        gone = self._gone.get(address)
        if gone is None:
            return Outcome(End.LOST, detail=PILOT_GONE)
        future = self._client.submit(
            visits.run_job,
            spec.text,
            self._run,
            key=f"{visits.KEY}{self._run}-{spec.key}#{next(self._serial)}",
            workers=[address],
            allow_other_workers=False,
            resources=declared.share(self._workers[address]["resources"], amounts) or None,
            retries=0,
            pure=False,
        )
        return await outcome_of(future, address, gone, "its worker is gone")

    async def stop(self, grace_s: float | None) -> None:
        """End the run's jobs (TERM, KILL after `grace_s`) and its visit; the workers stay."""
        if self._client is None:
            return
        self._looking.cancel()
        with contextlib.suppress(Exception):  # a worker that is gone has nothing left to end
            stopping = self._on_workers(visits.end, self._run, grace_s or 0.0)
            await asyncio.wait_for(stopping, (grace_s or 0.0) + 10)
        await self._client.close()
        self._log.close()

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            # The client itself tries to connect again, and workers that can run jobs may come again.
            with contextlib.suppress(OSError, TimeoutError, ClusterStartError):
                await self._look()

    async def _look(self) -> None:
        """See which workers there are, and renew the visit with them."""
        self._workers = await dask_internals.workers(self._client)
        for address in [address for address in self._gone if address not in self._workers]:
            self._gone.pop(address).set_result(None)
            if pilot := self._pilots.pop(address, None):
                self._listener.pilot_disconnected(pilot)
        answers = await self._on_workers(visits.renew, self._run, self._lease_s)
        for address, answer in answers.items():
            if isinstance(answer, Exception):
                self._refused[address] = answer
                continue
            self._others[address] = declared.used(*answer)
            if address not in self._gone:
                self._gone[address] = asyncio.get_running_loop().create_future()
        if not self._gone and self._refused:
            raise ClusterStartError(
                f"No worker of the Dask scheduler {self._scheduler} can run jobs: {self._refused[min(self._refused)]}. "
                "Their environment needs snakemake-executor-plugin-daskjq, as this one has it."
            )
        self._settle()
        for address, pilot in self._pilots.items():
            self._listener.pilot_shared(pilot, self._others[address])

    async def _on_workers(self, function: Any, *arguments: Any) -> dict[str, Any]:
        addresses = [address for address in self._workers if address not in self._refused]
        answers: dict[str, Any] = await self._client.run(function, *arguments, workers=addresses, on_error="return")
        return answers

    def _settle(self, excluded: tuple[str, ...] = ()) -> None:
        """Give the pilots that were asked for a worker each."""
        for pilot, pool in list(self._asked.items()):
            wanted = pool.amounts
            for address in self._gone:
                worker = self._workers[address]
                free = address not in self._pilots and worker["host"] not in excluded
                if free and declared.offered(worker) == wanted:
                    del self._asked[pilot]
                    self._pilots[address] = pilot
                    self._listener.pilot_connected(pilot, address, worker["host"])
                    self._listener.pilot_shared(pilot, self._others[address])
                    break


_results: set[asyncio.Task[Outcome]] = set()
"""Results that are being waited for, also those that nobody asks for any more."""


async def outcome_of(future: Any, address: str, gone: asyncio.Future[Any], detail: str) -> Outcome:
    """What becomes of a job's Dask future on a worker; it is lost, for the reason `detail`, once `gone` is done.

    A future for a worker that went away while it was under way waits for ever in no-worker.
    """
    result = asyncio.create_task(_result_of(future))
    _results.add(result)
    result.add_done_callback(_results.discard)
    try:
        first: list[asyncio.Future[Any]] = [result, gone]
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if result.done():
            return result.result()
        # Dask's client asks for the results of many jobs at a time, also of other workers, and waits for all of them.
        # A worker that is stopped or cut off answers nothing, and its connections stay: they have to be given up.
        dask_internals.give_up_connections(future.client, address)
        return Outcome(End.LOST, detail=detail)
    finally:
        # This ends `result` too. To cancel it would be wrong: the request for many results is in the name of one job,
        # and with that one's those of all others would be cancelled.
        future.release()


async def _result_of(future: Any) -> Outcome:
    """Raises nothing: a job whose end nobody hears of would keep Snakemake waiting."""
    try:
        outcome: Outcome = await future
        return outcome
    except asyncio.CancelledError:
        return Outcome(End.LOST, detail="its Dask future was cancelled")
    except Exception as error:
        return Outcome(End.LOST, detail=f"{type(error).__name__}: {error}".splitlines()[0])


async def end_visit(scheduler: str, folder: RunFolder) -> str:
    """End the jobs of a run whose controller has died; returns what is left: nothing.

    Raises ClusterStartError, OSError or TimeoutError.
    """
    client = await _connect(scheduler)
    try:
        ending = client.run(visits.end, _name_of_visit(folder), visits.GRACE_S, on_error="ignore")
        await asyncio.wait_for(ending, visits.GRACE_S + 10)
    finally:
        await client.close()
    return ""


def _name_of_visit(folder: RunFolder) -> str:
    """A name for the run that no other has."""
    return hashlib.sha256(os.fsencode(f"{socket.gethostname()} {folder.path.absolute()}")).hexdigest()[:32]


async def _connect(scheduler: str) -> Any:
    """A client of the scheduler at an address, or of the one that a scheduler file names."""
    where = {"scheduler_file": scheduler} if Path(scheduler).is_file() else {"address": scheduler}
    try:
        return await Client(**where, asynchronous=True, set_as_default=False, name="daskjq")
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise ClusterStartError(
            f"The Dask scheduler {scheduler} (--daskjq-scheduler) does not answer: {error}. It has to be an address "
            "such as tcp://host:8786 or tls://host:8786, or a scheduler file. Certificates for tls:// are those of "
            "your Dask configuration (distributed.comm.tls)."
        ) from error


def _kind(worker: dict[str, Any]) -> str:
    return json.dumps(declared.offered(worker), sort_keys=True)
