"""What a controller has at a moment, as users see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .job import Job
    from .pilots import Pilot


@dataclass(frozen=True, slots=True)
class PilotStatus:
    """A pilot: `state` is one of `PilotState`, `jobs` run there, and `ends_at` is its walltime's end (None: never)."""

    name: str
    pool: str
    state: str
    host: str
    jobs: int
    ends_at: float | None


@dataclass(frozen=True, slots=True)
class RunStatus:
    """A run's jobs that are on pilots, and those that wait; `cores` are those that they hold."""

    run: int
    running: int
    waiting: int
    cores: int


def status_of(
    pilots: Iterable[Pilot], jobs: Iterable[Job], runs: Iterable[int]
) -> tuple[list[PilotStatus], list[RunStatus]]:
    """All pilots that are there or to come, and all runs."""
    shown = [
        PilotStatus(pilot.name, pilot.pool.name, pilot.state, pilot.host, len(pilot.jobs), pilot.ends_at)
        for pilot in pilots
        if pilot.is_coming or pilot.is_running
    ]
    own: dict[int, list[Job]] = {run: [] for run in runs}
    for job in jobs:
        own[job.request.run].append(job)
    return shown, [
        RunStatus(
            run,
            running=sum(bool(job.pilot) for job in those),
            waiting=sum(not job.pilot for job in those),
            cores=sum(job.request.amounts["cores"] for job in those if job.pilot),
        )
        for run, those in own.items()
    ]
