"""Runs that are guests of a Dask worker which is no pilot of theirs.

Each has rule hosts of its own, so that it can end its jobs and nobody else's. A run whose Snakemake was killed
renews nothing any more: its jobs are ended then. When a run renews its visit, it is told what others use here.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..model.job_spec import launch_of
from ..model.outcome import End, Outcome
from . import contexts
from .grants import Grants

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..model.request import Amounts

GRACE_S = 5.0
KEY = "daskjq-"
"""What the keys of all guests' jobs begin with."""


@dataclass(slots=True)
class Visit:
    hosts: contexts.Hosts = field(default_factory=contexts.Hosts)
    grants: Grants = field(default_factory=Grants)
    jobs: dict[asyncio.Task[Outcome], Amounts] = field(default_factory=dict)
    timer: asyncio.TimerHandle | None = None


_visits: dict[str, Visit] = {}
_ending: set[asyncio.Task[None]] = set()


async def renew(run: str, lease_s: float, dask_worker: Any = None) -> tuple[dict[str, int], dict[str, float]]:
    """Begin or go on with a run's visit, for `lease_s` from now on.

    Returns what others use of this worker (`dask_worker`, which Dask puts in) at the moment: the amounts that jobs
    of other guests hold, and the resources of all other tasks that run, each of which takes a thread as well.
    """
    visit = _visits.setdefault(run, Visit())
    if visit.timer is not None:
        visit.timer.cancel()
    visit.timer = asyncio.get_running_loop().call_later(lease_s, _expire, run)
    others: Counter[str] = Counter()
    for name, other in _visits.items():
        if name != run:
            for amounts in other.jobs.values():
                others.update(amounts)
    return dict(others), _used_by_tasks(dask_worker)


def _used_by_tasks(dask_worker: Any) -> dict[str, float]:
    """What running tasks that are no guests' jobs use; `threads` is how many these are."""
    if dask_worker is None:
        return {}
    tasks = [task for task in dask_worker.state.executing if not str(task.key).startswith(KEY)]
    used: Counter[str] = Counter(threads=len(tasks))
    for task in tasks:
        resources: Mapping[str, float] = task.resource_restrictions or {}
        used.update(resources)
    return dict(used)


async def run_job(spec: str, run: str) -> Outcome:
    """The Dask task of a guest's job (the text of its `JobSpec`)."""
    visit = _visits.get(run)
    if visit is None:
        return Outcome(End.LOST, detail="its run was out of touch with the worker")
    launch = launch_of(spec)
    job = asyncio.create_task(contexts.run_granted(launch, visit.hosts, visit.grants))
    visit.jobs[job] = launch.amounts
    job.add_done_callback(visit.jobs.pop)
    await asyncio.wait([job])  # Dask may cancel this coroutine, and thinks then that the job has ended; it has not
    return Outcome(End.LOST, detail="its run has ended") if job.cancelled() else job.result()


async def end(run: str, grace_s: float) -> None:
    """End a run's jobs (TERM, KILL after `grace_s`), and its visit."""
    visit = _visits.pop(run, None)
    if visit is not None:
        if visit.timer is not None:
            visit.timer.cancel()
        await visit.hosts.stop(grace_s)
        await asyncio.gather(*visit.jobs, return_exceptions=True)
        visit.grants.close()


def _expire(run: str) -> None:
    task = asyncio.get_running_loop().create_task(end(run, GRACE_S))
    _ending.add(task)
    task.add_done_callback(_ending.discard)
