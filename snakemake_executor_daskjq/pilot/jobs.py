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
from .contexts import UNWANTED, Launchers
from .grants import Grants
from .launcher_client import KilledError

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine
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
        self._tasks: dict[str, str] = {}  # the keys of jobs, by those of their Dask tasks
        self._unwanted: set[str] = set()  # tasks that were told to end, and are not there (yet)

    def begin_lease(self, length_s: float | None) -> None:
        self.lease = Lease(length_s)
        self.launchers.renew_lease(self.lease.ends_at)

    def renew_lease(self, asked_at: float) -> None:
        """The scheduler has answered what it was asked at `asked_at` (uptime): jobs may go on."""
        self.lease.renew(asked_at)
        self.launchers.renew_lease(self.lease.ends_at)

    async def run(self, spec: str, task: str) -> Outcome:
        """Run the job of a Dask task. No task's key comes again, but that of a job may."""
        if self.lease.is_over():
            # This process was stopped: the job may run elsewhere by now.
            return Outcome(End.LOST, detail="its pilot was out of touch")
        if task in self._unwanted:
            return Outcome(End.NOT_STARTED, detail=UNWANTED)
        launch = launch_of(spec)
        self._tasks[task] = launch.key
        try:
            return await run_granted(launch, self.launchers, self.grants)
        finally:
            del self._tasks[task]

    def end(self, tasks: Collection[str], grace_s: float) -> None:
        """End the jobs of these tasks (TERM, KILL after `grace_s`), also where a task comes only after this."""
        here = self._tasks.keys() & set(tasks)
        self._unwanted.update(set(tasks) - here)
        self.launchers.end({self._tasks[task] for task in here}, grace_s)


async def run_job(spec: str, key: bytes) -> None:
    """The Dask task `key` of a job (the text of its `JobSpec`): run it on this pilot and tell how it ended.

    It is a coroutine, so it runs in the worker's event loop and holds no thread. It never raises for what a
    job or its start does.
    """
    worker = get_worker()
    jobs: PilotJobs = worker.jobs
    outcome = await told(jobs.run(spec, key.decode()))
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


def end_jobs(tasks: list[str], grace_s: float, dask_worker: Any) -> None:
    """End the jobs of these tasks of a pilot (TERM, KILL after `grace_s`). Dask puts `dask_worker` in."""
    dask_worker.jobs.end(tasks, grace_s)


async def run_granted(launch: Launch, launchers: Launchers, grants: Grants) -> Outcome:
    """Run a job on `launchers` with what `grants` set aside for it. Raises nothing for what a job or its start does."""
    try:
        async with grants.hold(launch.amounts) as grant, folders.own(launch, grant.tmpdir) as ready:
            return await launchers.run(replace(ready, grant=grant))
    except OSError as error:
        is_lost = launchers.stopped or isinstance(error, KilledError)
        return Outcome(End.LOST if is_lost else End.NOT_STARTED, detail=str(error))
