"""Why a job waits: which resource, which pools are ruled out, what their pilots do, and when it may start."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from ..errors import shown
from ..model.pool import PilotState
from ..policy.rooms import Room
from ..resources.mapping import ruled_out
from .forecast import starts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..model.pool import Pool
    from ..model.request import Request
    from ..policy.pilot_life import PilotLife
    from .run import Job, Run


def explain(run: Run, asked: str | None, now: float) -> Iterator[str]:
    """Lines for the user. `asked` is a rule, a job's id or its key; None for everything that waits."""
    if run.killed:
        yield f"Snakemake has ended without a word (was it killed?); this is how the run stood at {_clock(run.now)}."
    chosen = [job for job in run.jobs.values() if asked in (None, job.request.rule, job.request.key, _id(job))]
    if not chosen and asked is not None:
        yield (
            f"{asked}: daskjq has got no such job. Snakemake hands a job over once its inputs are there and --jobs and "
            "--resources allow it; rules under localrules stay with Snakemake."
        )
        yield f"Known rules: {', '.join(sorted({job.request.rule for job in run.jobs.values()})) or 'none yet'}."
    if asked is not None:
        yield from _told(run, [job for job in chosen if not job.waits], now)
    shapes: dict[object, list[Job]] = {}
    for job in chosen:
        if job.waits:
            shapes.setdefault((job.request.rule, job.request.shape, job.held_by), []).append(job)
    if run.over and shapes:
        yield "The run is over; these jobs had not started:"
    forecast = starts(run, now) if shapes and not run.over else {}
    for jobs in shapes.values():
        yield from _waiting(run, jobs, forecast, now)
    if chosen and not shapes and asked is None:
        yield "No job waits for a pilot."
    yield from pilots(run, now)


def _id(job: Job) -> str:
    return str(job.request.job_id)


def _told(run: Run, jobs: list[Job], now: float) -> Iterator[str]:
    """Jobs that do not wait: the running ones singly if they are few, the ended ones counted."""
    for job in jobs[:10]:
        if job.runs:
            yield f"{job.request.key} runs on pilot {job.pilot} since {_span(now - job.placed_at)}."
    ends = Counter(job.ended["end"] for job in jobs if job.ended is not None)
    for end, count in ends.items():
        yield f"{count} job{'s' * (count > 1)} of {jobs[0].request.rule} ended: {str(end).replace('_', ' ')}."


def _waiting(run: Run, jobs: list[Job], forecast: dict[str, tuple[float, str]], now: float) -> Iterator[str]:
    request = jobs[0].request
    wanted = ", ".join(shown(name, amount) for name, amount in request.amounts.items())
    if request.runtime_s is not None:
        wanted += f", runtime {_span(request.runtime_s)}"
    names = f"{request.key}" if len(jobs) == 1 else f"{len(jobs)} jobs of rule {request.rule}"
    since = min(job.submitted_at for job in jobs)
    yield f"{names} ({wanted}): waiting since {_span(now - since)}."
    if by := jobs[0].held_by:
        yield f"  It starts once {by} has got the Dask workers that it needs: one rule at a time gathers them."
        return
    for pool in run.pools.values():
        reason = ruled_out(request, pool)
        if reason:
            yield f"  pool {pool.name} is ruled out: {reason}."
            continue
        alive = [pilot for pilot in run.pilots.values() if pilot.pool.name == pool.name]
        for pilot in alive:
            if pilot.is_running:
                yield f"  pilot {pilot.name}: {_on(run, pilot, request, now)}."
        yield f"  pool {pool.name}: {_coming(pool, alive)}."
    if not run.over:
        known = [forecast[job.request.key] for job in jobs if job.request.key in forecast]
        yield f"  Estimate: {_estimate(known, jobs)}."


def _estimate(starts: list[tuple[float, str]], jobs: list[Job]) -> str:
    if not starts:
        return (
            "none, for it needs a pilot that has not started yet, or others run before that take nobody knows how long"
        )
    first, pilot = min(starts)
    told = f"{'it starts' if len(jobs) == 1 else 'the first of them starts'} about {_clock(first)} on pilot {pilot}"
    if len(jobs) > 1 and len(starts) == len(jobs):
        told += f", the last about {_clock(max(starts)[0])}"
    return f"{told}, sooner if new pilots come"


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))


def _on(run: Run, pilot: PilotLife, request: Request, now: float) -> str:
    """What keeps the request off a running pilot."""
    running = run.running_on(pilot.name)
    room = Room.of_new_pilot(pilot.name, pilot.pool, pilot.connected_at)
    free = dict(room.capacity)
    for job in running:
        for name, amount in job.request.amounts.items():
            free[name] = free.get(name, 0) - amount
    lacking = room.misfits(request, now, amounts=free)
    if not lacking:
        return "it has room; other jobs go before, or the job starts at once"
    if pilot.ends_at is not None and lacking[-1].resource == "runtime":
        return f"its walltime ends in {_span(pilot.ends_at - now)}, before the job's runtime would"
    words = ", ".join(
        f"{shown(misfit.resource, max(0, misfit.offered))} free of "
        f"{shown(misfit.resource, room.capacity[misfit.resource]).partition('=')[2]}"
        for misfit in lacking
    )
    return f"{words}; {_counted(len(running))} there"


def _counted(jobs: int) -> str:
    return f"{jobs} job runs" if jobs == 1 else f"{jobs} jobs run"


def _coming(pool: Pool, pilots: list[PilotLife]) -> str:
    coming = [pilot for pilot in pilots if pilot.is_coming]
    running = sum(pilot.is_running for pilot in pilots)
    if coming:
        reasons = ", ".join(sorted({pilot.words for pilot in coming if pilot.words}))
        return f"{len(coming)} of its pilots wait in the batch queue" + (f" ({reasons})" if reasons else "")
    if running >= pool.max_pilots:
        return f"it has as many pilots as it may (max_pilots={pool.max_pilots})"
    failed = [pilot for pilot in pilots if pilot.state is PilotState.LOST and pilot.words and not pilot.host]
    if failed and not running:
        last = failed[-1]
        again = f"next try at {_clock(last.retry_at)}" if last.retry_at else "it gets no more of them"
        return f"its pilots could not be started, last: {last.words}; {again}"
    return "no pilot is on its way; one is requested when the waiting work is worth it"


def pilots(run: Run, now: float) -> Iterator[str]:
    """One line for each pilot that is there or on its way, and one for the rest."""
    states = Counter(pilot.state for pilot in run.pilots.values())
    yield "Pilots: " + (", ".join(f"{count} {state}" for state, count in states.items()) or "none") + "."
    for pilot in run.pilots.values():
        if pilot.is_running:
            ends_at = pilot.ends_at
            left = f", {_span(ends_at - now)} of walltime left" if ends_at is not None else ""
            jobs = _counted(len(run.running_on(pilot.name)))
            yield f"  {pilot.name} (batch job {pilot.batch_id}) is on {pilot.host}: {jobs}{left}."
        elif pilot.is_coming:
            why = f": {pilot.words}" if pilot.words else ""
            waits = f"waits since {_span(now - pilot.requested_at)}{why}"
            yield f"  {pilot.name} ({f'batch job {pilot.batch_id}' if pilot.batch_id else 'being submitted'}) {waits}."
        elif pilot.state is PilotState.LOST and pilot.host and pilot.words:
            yield f"  {pilot.name} was lost on {pilot.host}: {pilot.words}."
    for host, crashes in run.excluded.items():
        yield f"Host {host} gets no more pilots: {crashes} crashed there."


def _span(duration_s: float) -> str:
    """A duration in two units.

    >>> _span(42), _span(200), _span(7300), _span(200000)
    ('42 s', '3 min 20 s', '2 h 1 min', '2 d 7 h')
    """
    whole = max(0, round(duration_s))
    for unit_s, unit, part_s, part in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= unit_s:
            rest = whole % unit_s // part_s
            return f"{whole // unit_s} {unit}" + (f" {rest} {part}" if rest else "")
    return f"{whole} s"
