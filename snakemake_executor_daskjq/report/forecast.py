"""When waiting jobs may start: the controller core in simulated time, on the pilots that run now.

What it can't know: pilots that are still to come, jobs that Snakemake has not handed over yet, and how long a rule
takes of which no job has ended and that states no runtime.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..policy import messages
from ..policy.core import Core
from ..policy.simulation import Simulation

if TYPE_CHECKING:
    from ..model.request import Request
    from .run import Run

MOST_STARTS = 20_000
"""So many starts are simulated, a second or two of work; later ones are not told."""


def starts(run: Run, now: float) -> dict[str, tuple[float, str]]:
    """Time (seconds since the epoch) and pilot of each waiting job's start, by the job's key."""

    def takes_s(request: Request) -> float:
        expected_s = run.expected_s(request.rule, request.runtime_s)
        return math.inf if expected_s is None else expected_s

    simulation = Simulation(Core(run.pools.values()), now, takes_s, queue_s=None)
    simulation.at(now, messages.RunBegins(1, {}))
    for rule, walls_s in run.walls_s.items():
        simulation.at(now, messages.RuleMeasured(rule, len(walls_s), sum(walls_s) / len(walls_s)))
    for pilot in run.pilots.values():
        if pilot.is_running:
            simulation.at(now, messages.PilotAdopted(pilot.name, pilot.pool.name, pilot.host, pilot.connected_at))
    waiting = 0
    for job in run.jobs.values():
        if job.runs:
            simulation.adopt(messages.JobAdopted(job.request, job.pilot, job.placed_at), takes_s(job.request))
        elif job.waits:
            simulation.at(now, messages.JobsSubmitted((job.request,), job.submitted_at))
            waiting += 1
    found: dict[str, tuple[float, str]] = {}
    while len(found) < min(waiting, MOST_STARTS):
        try:
            instructions = simulation.step()
        except IndexError:
            break
        for instruction in instructions:
            if isinstance(instruction, messages.StartJob):
                found[instruction.request.key] = (simulation.now, instruction.pilot)
    return found
