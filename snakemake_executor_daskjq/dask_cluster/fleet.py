"""The run's Dask cluster: one scheduler in this process, one SpecCluster whose entries are the pilots.

All methods belong to the event loop that started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import shutil
import sys
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

import dask.config
from distributed import Client, Scheduler
from distributed.deploy.spec import SpecCluster
from distributed.diagnostics.plugin import SchedulerPlugin

from ..errors import ClusterStartError
from ..launcher import lease
from ..model.outcome import PILOT_GONE, End, Outcome
from ..pilot.jobs import end_jobs, run_job, stop_jobs
from . import dask_internals
from .pilots import LEAVE_S, BatchPilot, PilotListener, PilotSetup, leave, specification
from .security import RunSecurity

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from pathlib import Path

    from ..config.settings import Config
    from ..journal.journal import RunFolder
    from ..model.job_spec import JobSpec
    from ..model.pool import Pool
    from ..model.request import Amounts
    from .spare import Spare

STOP_S = 30.0

CLOSE_S = LEAVE_S + 2.0
"""So long pilots that cancelling would kill have to end by themselves at the end of a run."""

LOOK_S = 5.0
"""How often it is looked whether futures have failed."""

CANCEL_FIRST_S = 5.0
"""So long those that run wait at the end of a run for those that don't to be cancelled."""

TTL_LEASES = 1.5
"""After so many leases without a word of a pilot it is lost; its jobs have ended after one lease and a little."""

DASK_CONFIG = {
    "distributed.scheduler.work-stealing": False,  # placement is ours
    "distributed.scheduler.allowed-failures": 0,  # so is the budget of lost pilots
    "distributed.scheduler.locks.lease-timeout": "300s",
    "distributed.admin.tick.limit": "60s",
    "distributed.admin.tick.interval": "1s",  # fifty times less than Dask's own, on a login node
    "distributed.deploy.lost-worker-timeout": "1h",  # the core acts on a lost pilot at once
    "distributed.comm.timeouts.connect": "30s",
}


class FleetListener(PilotListener, Protocol):
    """Who wants to know about pilots that come and go."""

    def pilot_connected(self, pilot: str, address: str, host: str) -> None: ...

    def pilot_granted(self, pilot: str, cores: int) -> None: ...

    def pilot_disconnected(self, pilot: str) -> None: ...


class Watch(SchedulerPlugin):  # type: ignore[misc]
    """Hands the scheduler's word on workers to the listener, without polling."""

    def __init__(self, listener: FleetListener) -> None:
        self._listener = listener
        self._names: dict[str, str] = {}
        self._outcomes: dict[str, asyncio.Future[Outcome]] = {}  # by the key of the Dask task
        self._under_way: dict[str, set[str]] = {}  # the keys of a worker's tasks, by its address

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        dask_internals.batch_messages(scheduler, worker)
        name, host = dask_internals.name_and_host(scheduler, worker)
        self._names[worker] = name
        self._under_way[worker] = set()
        self._tell(self._listener.pilot_connected, name, worker, host)
        if cores := dask_internals.metric(scheduler, worker, "granted_cores"):
            self._tell(self._listener.pilot_granted, name, cores)

    def remove_worker(self, scheduler: Scheduler, worker: str, **_: Any) -> None:
        if name := self._names.pop(worker, None):
            self._tell(self._listener.pilot_disconnected, name)
            for key in self._under_way.pop(worker):
                self._settle(key, Outcome(End.LOST, detail="its pilot disconnected"))

    def transition(
        self, key: Any, start: str, finish: str, *_: Any, metadata: Any = None, exception_text: str = "", **__: Any
    ) -> None:
        """A task's outcome comes with the word that it has ended, so that nobody has to ask for its result."""
        match finish:
            case "memory":
                self._settle(key, dask_internals.outcome_in(metadata))
            case "erred" if exception_text:  # else Dask fails it for its worker, of which `remove_worker` tells first
                self._settle(key, Outcome(End.LOST, detail=exception_text.splitlines()[0]))
            case "forgotten":
                self._settle(key, Outcome(End.LOST, detail="its Dask future was cancelled"))

    def expect(self, key: str, worker: str) -> asyncio.Future[Outcome] | None:
        """The outcome of a task that is about to be submitted for a worker; None where that is gone."""
        if worker not in self._under_way:
            return None
        self._under_way[worker].add(key)
        self._outcomes[key] = outcome = asyncio.get_running_loop().create_future()
        outcome.add_done_callback(lambda _: self._forget(key, worker))
        return outcome

    def expects(self, key: str) -> bool:
        """Whether somebody still waits for the outcome of a task."""
        return key in self._outcomes

    def lose(self, keys: Iterable[str], why: str) -> None:
        """Tasks that were expected could not be submitted."""
        for key in keys:
            self._settle(key, Outcome(End.LOST, detail=why))

    def _settle(self, key: str, outcome: Outcome) -> None:
        if (told := self._outcomes.pop(key, None)) is not None and not told.done():
            told.set_result(outcome)

    def _forget(self, key: str, worker: str) -> None:
        self._outcomes.pop(key, None)
        self._under_way.get(worker, set()).discard(key)

    def _tell(self, hear: Callable[..., None], *what: object) -> None:
        """Outside the scheduler's call, which would only log what goes wrong."""
        asyncio.get_running_loop().call_soon(hear, *what)


class Fleet:
    """The pilots of a run, and the futures on them."""

    def __init__(self, config: Config, folder: RunFolder, listener: FleetListener, spare: Spare | None = None) -> None:
        self._config = config
        self._folder = folder
        self._listener = listener
        self._watch = Watch(listener)
        self._spare = spare
        self._serial = itertools.count(1)
        self._asked: dict[tuple[str, tuple[tuple[str, int], ...]], list[tuple[str, str]]] = {}
        self._futures: dict[str, Any] = {}  # by the task's key
        self._tasks: dict[str, str] = {}  # the keys of Dask tasks, by those of running jobs
        self._looking: asyncio.Task[None] | None = None
        self._cluster: Any = None
        self._client: Any = None
        self._security: RunSecurity | None = None
        self._log: DaskLog | None = None
        # The scheduler's, which would leave a folder in the user's TMPDIR. It is this run's alone, so nobody has to
        # lock it: a shared file system may not be able to.
        self._scratch = folder.path.absolute() / "dask"

    async def start(self) -> None:
        """Start scheduler and client. Raises ClusterStartError."""
        dask_internals.check()
        self._log = DaskLog(self._folder.dask_log)
        dask.config.set(DASK_CONFIG)
        dask.config.set({"temporary-directory": str(self._scratch), "distributed.worker.use-file-locking": False})
        dask.config.set({"distributed.scheduler.worker-ttl": f"{TTL_LEASES * self._config.lease_s}s"})
        if self._config.dashboard_address is None:
            dask.config.set({"distributed.scheduler.http.routes": []})  # the port is open, but answers nothing
        self._security = RunSecurity.create(self._folder.tls)
        options: dict[str, Any] = {
            "protocol": "tls://",
            "security": self._security.security,
            "port": 0,
            "dashboard": self._config.dashboard_address is not None,
            "dashboard_address": self._config.dashboard_address or "127.0.0.1:0",
        }
        if self._config.interface:
            options["interface"] = self._config.interface
        elif self._config.local:
            options["host"] = "127.0.0.1"
        try:
            self._cluster = await SpecCluster(
                workers={},
                scheduler={"cls": Scheduler, "options": options},
                security=self._security.security,
                asynchronous=True,
                name="daskjq",
                shutdown_on_close=False,
            )
            dask_internals.check_cluster(self._cluster)
            scheduler = self._cluster.scheduler
            scheduler.add_plugin(self._watch, name="daskjq")
            dask_internals.serve(
                scheduler, lease.OPERATION, lambda address: dask_internals.note_sign_of_life(scheduler, address)
            )
            self._client = await Client(
                await dask_internals.address_inside(scheduler),
                asynchronous=True,
                set_as_default=False,
                security=self._security.security,
                name="daskjq",
            )
        except (OSError, RuntimeError, ValueError) as error:
            where = f" on interface {self._config.interface}" if self._config.interface else ""
            raise ClusterStartError(f"The Dask scheduler could not be started{where}: {error}") from error
        self._looking = asyncio.create_task(self._look_at_futures())
        # Dask puts its scratch folder there, and Snakemake passes what it finds there on to scripts.
        sys.path[:] = [entry for entry in sys.path if not entry.startswith(str(self._scratch))]

    @property
    def dashboard_link(self) -> str | None:
        return str(self._cluster.dashboard_link) if self._config.dashboard_address else None

    async def request(self, pilot: str, pool: Pool, excluded: tuple[str, ...] = ()) -> None:
        """Have a pilot submitted; the listener hears how that went."""
        assert self._security is not None
        setup = PilotSetup(
            security=self._security,
            log_folder=self._folder.pilot_logs,
            interface=self._config.interface,
            listener=self._listener,
            lease_s=self._config.lease_s,
            excluded=excluded,
            spare=self._spare,
        )
        await dask_internals.add_entry(self._cluster, pilot, specification(pool, setup))

    async def end(self, pilot: str) -> None:
        """End a pilot gently, and cancel its batch job. Its entry is gone afterwards."""
        await self._close([pilot])
        await dask_internals.remove_entries(self._cluster, [pilot])

    async def _close(self, pilots: Collection[str]) -> None:
        """Close the workers of pilots. Those that cancelling would kill get the time to end."""
        here = dask_internals.worker_names(self._cluster).intersection(pilots)
        with contextlib.suppress(Exception):  # a pilot that is gone already has ended
            await self._cluster.scheduler.retire_workers(names=list(here), close_workers=True)
        jobs = [self._cluster.workers.get(pilot) for pilot in here]
        await leave([job for job in jobs if _is_killed_by_cancelling(job)])

    async def run(self, address: str, spec: JobSpec, amounts: Amounts) -> Outcome:
        """Run a job as a future on one worker. What the worker can't tell is a lost job."""
        key = f"{spec.key}#{next(self._serial)}"  # Dask may still know the key of an earlier try
        outcome = self._watch.expect(key, address)
        if outcome is None:
            return Outcome(End.LOST, detail=PILOT_GONE)
        if not self._asked:  # what starts within one turn of the loop is one graph for each pilot
            asyncio.get_running_loop().call_soon(self._submit)
        self._asked.setdefault((address, tuple(amounts.items())), []).append((key, spec.text))
        self._tasks[spec.key] = key
        try:
            return await outcome
        finally:
            if self._tasks.get(spec.key) == key:
                del self._tasks[spec.key]
            if (future := self._futures.pop(key, None)) is not None:
                future.release()

    async def end_jobs(self, address: str, keys: Collection[str], grace_s: float) -> None:
        """End jobs on one worker (TERM, KILL after `grace_s`); their ends come as those of any jobs."""
        with contextlib.suppress(Exception):  # a pilot that is gone has lost its jobs
            tasks = [task for key in sorted(keys) if (task := self._tasks.get(key)) is not None]
            await self._client.run(end_jobs, tasks, grace_s, workers=[address], on_error="ignore")

    def _submit(self) -> None:
        """Submit the tasks of all jobs that are to be started now."""
        asked, self._asked = self._asked, {}
        for (address, amounts), jobs in asked.items():
            jobs = [(key, spec) for key, spec in jobs if self._watch.expects(key)]  # the pilot may be gone by now
            if not jobs:
                continue
            keys, specs = map(list, zip(*jobs, strict=True))
            try:
                futures = self._client.map(
                    run_job,
                    specs,
                    [key.encode() for key in keys],  # Dask may take a text that is a key for what has that key
                    key=keys,
                    workers=[address],
                    allow_other_workers=False,
                    resources=dict(amounts),
                    retries=0,
                    pure=False,
                )
            except Exception as error:
                self._watch.lose(keys, f"{type(error).__name__}: {error}")
            else:
                self._futures.update(zip(keys, futures, strict=True))

    async def _look_at_futures(self) -> None:
        """A graph that the scheduler can't take makes no task: only its futures tell."""
        while True:
            await asyncio.sleep(LOOK_S)
            failed = [key for key, future in self._futures.items() if future.status in ("error", "cancelled", "lost")]
            self._watch.lose(failed, "its Dask future has failed")

    async def stop(self, grace_s: float | None) -> None:
        """End everything. With `grace_s`, running jobs are ended first (TERM, KILL after `grace_s`)."""
        async with contextlib.AsyncExitStack() as parts:  # each of them, whatever becomes of the others
            parts.callback(shutil.rmtree, self._scratch, ignore_errors=True)
            if self._log is not None:
                parts.callback(self._log.close)
            if self._security is not None:
                parts.callback(self._security.remove)
            if self._cluster is not None:
                # Room that others leave must not start them, only to be killed before they could clean up.
                cancelling = asyncio.create_task(self._cancel_waiting())
                parts.push_async_callback(self._end_pilots, cancelling)
            if self._client is not None:
                parts.push_async_callback(self._end_jobs, grace_s)
            if self._looking is not None:
                self._looking.cancel()

    async def _cancel_waiting(self) -> None:
        """Cancel the batch jobs whose pilots have not connected."""
        await dask_internals.remove_entries(
            self._cluster, self._cluster.workers.keys() - dask_internals.worker_names(self._cluster)
        )

    async def _end_pilots(self, cancelling: asyncio.Task[None]) -> None:
        await asyncio.wait([cancelling], timeout=CANCEL_FIRST_S)
        patient = [name for name, job in self._cluster.workers.items() if _is_killed_by_cancelling(job)]
        if patient:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._close(patient), CLOSE_S)
        with contextlib.suppress(TimeoutError):  # a cancel command that hangs must not hold up Snakemake
            await asyncio.wait_for(self._cluster.close(), STOP_S)

    async def _end_jobs(self, grace_s: float | None) -> None:
        if grace_s is not None and dask_internals.has_workers(self._cluster):
            with contextlib.suppress(Exception):  # a pilot that is gone has nothing left to end
                await asyncio.wait_for(self._client.run(stop_jobs, grace_s, on_error="ignore"), grace_s + 10)
        await self._client.close()


def _is_killed_by_cancelling(job: object) -> TypeGuard[BatchPilot]:
    return isinstance(job, BatchPilot) and job.system.cancel_kills


class _QuietHandler(logging.FileHandler):
    """Writes what can be written: a full disk is no reason for tracebacks on the terminal."""

    def handleError(self, record: logging.LogRecord) -> None: ...


class DaskLog:
    """Dask's own messages go to the run's folder: on the terminal they would look like errors of the workflow."""

    NAMES = ("distributed", "distributed.client", "dask_jobqueue", "tornado", "tornado.application", "bokeh")

    def __init__(self, path: Path) -> None:
        self._handler = _QuietHandler(path, delay=True)
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
        self._replaced: list[tuple[logging.Logger, list[logging.Handler], bool]] = []
        for logger in map(logging.getLogger, self.NAMES):
            self._replaced.append((logger, logger.handlers[:], logger.propagate))
            logger.handlers[:] = [self._handler]
            logger.propagate = False

    def close(self) -> None:
        for logger, handlers, propagate in self._replaced:
            logger.handlers[:] = handlers
            logger.propagate = propagate
        self._handler.close()
