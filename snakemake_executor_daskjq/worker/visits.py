"""Runs that are guests of a Dask worker which is no pilot of theirs.

Each has rule hosts of its own, so that it can end its jobs and nobody else's. A run whose Snakemake was killed
renews nothing any more: its jobs are ended then.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..model.outcome import End, Outcome
from . import contexts
from .grants import Grants

if TYPE_CHECKING:
    from ..model.request import Launch

PATIENCE_S = 30.0
GRACE_S = 5.0


@dataclass(slots=True)
class Visit:
    hosts: contexts.Hosts = field(default_factory=contexts.Hosts)
    grants: Grants = field(default_factory=Grants)
    jobs: set[asyncio.Task[Outcome]] = field(default_factory=set)
    timer: asyncio.TimerHandle | None = None


_visits: dict[str, Visit] = {}
_ending: set[asyncio.Task[None]] = set()


async def renew(run: str) -> None:
    """Begin or go on with a run's visit."""
    visit = _visits.setdefault(run, Visit())
    if visit.timer is not None:
        visit.timer.cancel()
    visit.timer = asyncio.get_running_loop().call_later(PATIENCE_S, _expire, run)


async def run_job(launch: Launch, run: str) -> Outcome:
    """The Dask task of a guest's job."""
    visit = _visits.get(run)
    if visit is None:
        return Outcome(End.LOST, detail="its run was out of touch with the worker")
    job = asyncio.create_task(contexts.run_granted(launch, visit.hosts, visit.grants))
    visit.jobs.add(job)
    job.add_done_callback(visit.jobs.discard)
    await asyncio.wait([job])  # Dask may cancel this coroutine, and thinks then that the job has ended; it has not
    return Outcome(End.LOST, detail="its run has ended") if job.cancelled() else job.result()


async def end(run: str, grace_s: float) -> None:
    """End a run's jobs (TERM, KILL after `grace_s`), and its visit."""
    visit = _visits.pop(run, None)
    if visit is not None:
        if visit.timer is not None:
            visit.timer.cancel()
        await visit.hosts.stop(grace_s)
        for job in visit.jobs:  # whose host is just being started, and was not there to be stopped
            job.cancel()
        await asyncio.gather(*visit.jobs, return_exceptions=True)
        await visit.hosts.stop(0.0)
        visit.grants.close()


def _expire(run: str) -> None:
    task = asyncio.get_running_loop().create_task(end(run, GRACE_S))
    _ending.add(task)
    task.add_done_callback(_ending.discard)
