"""Runs that are guests of a Dask worker which is no pilot of theirs.

Each has launchers of its own, so that it can end its jobs and nobody else's. A run whose Snakemake was killed
renews nothing any more: its jobs are ended then. When a run renews its visit, it is told what others use here.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from distributed import get_worker

from ..model.job_spec import launch_of
from ..model.outcome import End, Outcome
from .contexts import Launchers
from .dask_internals import running_tasks
from .grants import Grants
from .jobs import run_granted, told

if TYPE_CHECKING:
    from ..model.request import Amounts

GRACE_S = 5.0
KEY = "daskjq-"
"""What the keys of all guests' jobs begin with."""


@dataclass(slots=True)
class Visit:
    launchers: Launchers = field(default_factory=Launchers)
    grants: Grants = field(default_factory=Grants)
    jobs: dict[asyncio.Task[Outcome], Amounts] = field(default_factory=dict)
    timer: asyncio.TimerHandle | None = None


class Visits:
    """All visits to one Dask worker. It hangs on the worker (`Visits.of`)."""

    def __init__(self) -> None:
        self._visits: dict[str, Visit] = {}
        self._ending: set[asyncio.Task[None]] = set()

    @classmethod
    def of(cls, worker: Any) -> Visits:
        """Those to a worker, which knows nothing of guests by itself."""
        if not hasattr(worker, "daskjq_visits"):
            worker.daskjq_visits = cls()
        visits: Visits = worker.daskjq_visits
        return visits

    def renew(self, run: str, lease_s: float) -> None:
        """Begin or go on with a run's visit, for `lease_s` from now on."""
        visit = self._visits.setdefault(run, Visit())
        if visit.timer is not None:
            visit.timer.cancel()
        visit.timer = asyncio.get_running_loop().call_later(lease_s, self._expire, run)

    def used_by_others(self, run: str) -> dict[str, int]:
        """The amounts that jobs of other guests hold."""
        others: Counter[str] = Counter()
        for name, other in self._visits.items():
            if name != run:
                for amounts in other.jobs.values():
                    others.update(amounts)
        return dict(others)

    async def run(self, spec: str, run: str) -> Outcome:
        visit = self._visits.get(run)
        if visit is None:
            return Outcome(End.LOST, detail="its run was out of touch with the worker")
        launch = launch_of(spec)
        job = asyncio.create_task(run_granted(launch, visit.launchers, visit.grants))
        visit.jobs[job] = launch.amounts
        job.add_done_callback(visit.jobs.pop)
        await asyncio.wait([job])  # Dask may cancel this coroutine, and thinks then that the job has ended; it has not
        return Outcome(End.LOST, detail="its run has ended") if job.cancelled() else job.result()

    async def end(self, run: str, grace_s: float) -> None:
        visit = self._visits.pop(run, None)
        if visit is not None:
            if visit.timer is not None:
                visit.timer.cancel()
            await visit.launchers.stop(grace_s)
            await asyncio.gather(*visit.jobs, return_exceptions=True)
            visit.grants.close()

    def _expire(self, run: str) -> None:
        task = asyncio.get_running_loop().create_task(self.end(run, GRACE_S))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


# -- what a guest calls on a worker; Dask puts `dask_worker` in ------------------------------------------------


async def renew(run: str, lease_s: float, dask_worker: Any) -> tuple[dict[str, int], dict[str, float]]:
    """Begin or go on with a run's visit, for `lease_s` from now on.

    Returns what others use of this worker at the moment: the amounts that jobs of other guests hold, and the
    resources of all other tasks that run, each of which takes a thread as well (`threads` is how many these are).
    """
    visits = Visits.of(dask_worker)
    visits.renew(run, lease_s)
    others = [resources for key, resources in running_tasks(dask_worker) if not key.startswith(KEY)]
    used: Counter[str] = Counter(threads=len(others))
    for resources in others:
        used.update(resources)
    return visits.used_by_others(run), dict(used)


async def run_job(spec: str, run: str) -> Outcome:
    """The Dask task of a guest's job (the text of its `JobSpec`)."""
    return await told(Visits.of(get_worker()).run(spec, run))


async def end(run: str, grace_s: float, dask_worker: Any) -> None:
    """End a run's jobs (TERM, KILL after `grace_s`), and its visit."""
    await Visits.of(dask_worker).end(run, grace_s)
