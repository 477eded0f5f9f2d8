"""Jobs as Dask tasks of a pilot's worker.

What they run with hangs on the worker (`pilot.PilotWorker.jobs`): a process may hold several workers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from distributed import get_worker

from ..launcher.lease import Lease
from ..model.job_spec import launch_of
from ..model.outcome import End, Outcome
from . import dask_internals, folders
from .contexts import Launchers
from .grants import Grants
from .launcher_client import KilledError

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from ..model.request import Launch


class PilotJobs:
    """What a pilot runs jobs with: its launchers, what it sets aside for each job, and for how long it may go on.

    Without a lease (`begin_lease`), jobs go on until they end.
    """

    def __init__(self, grants: Grants | None = None) -> None:
        self.launchers = Launchers()
        self.grants = grants or Grants()
        self.lease = Lease(None)

    def begin_lease(self, length_s: float | None) -> None:
        self.lease = Lease(length_s)
        self.launchers.renew_lease(self.lease.ends_at)

    def renew_lease(self, asked_at: float) -> None:
        """The scheduler has answered what it was asked at `asked_at` (uptime): jobs may go on."""
        self.lease.renew(asked_at)
        self.launchers.renew_lease(self.lease.ends_at)

    async def run(self, spec: str) -> Outcome:
        if self.lease.is_over():
            # This process was stopped: the job may run elsewhere by now.
            return Outcome(End.LOST, detail="its pilot was out of touch")
        return await run_granted(launch_of(spec), self.launchers, self.grants)


async def run_job(spec: str, key: bytes) -> None:
    """The Dask task `key` of a job (the text of its `JobSpec`): run it on this pilot and tell how it ended.

    It is a coroutine, so it runs in the worker's event loop and holds no thread. It never raises for what a
    job or its start does.
    """
    worker = get_worker()
    jobs: PilotJobs = worker.jobs
    outcome = await told(jobs.run(spec))
    dask_internals.tell_at_end(worker, key.decode(), outcome.record())


async def told(run: Coroutine[Any, Any, Outcome]) -> Outcome:
    """The outcome, also of a defect of ours. Dask would log the task with its argument, which may hold secrets."""
    try:
        return await run
    except Exception as error:
        return Outcome(End.LOST, detail=f"{type(error).__name__}: {error}".splitlines()[0])


async def stop_jobs(grace_s: float, dask_worker: Any) -> None:
    """End a pilot's jobs (TERM, KILL after `grace_s`) and its launchers. Dask puts `dask_worker` in."""
    await dask_worker.jobs.launchers.stop(grace_s)


def end_jobs(jobs: list[str], grace_s: float, dask_worker: Any) -> None:
    """End these jobs of a pilot (TERM, KILL after `grace_s`). Dask puts `dask_worker` in."""
    dask_worker.jobs.launchers.end(frozenset(jobs), grace_s)


async def run_granted(launch: Launch, launchers: Launchers, grants: Grants) -> Outcome:
    """Run a job on `launchers` with what `grants` set aside for it. Raises nothing for what a job or its start does."""
    try:
        async with grants.hold(launch.amounts) as grant, folders.own(launch, grant.tmpdir) as ready:
            return await launchers.run(replace(ready, grant=grant))
    except OSError as error:
        is_lost = launchers.stopped or isinstance(error, KilledError)
        return Outcome(End.LOST if is_lost else End.NOT_STARTED, detail=str(error))
