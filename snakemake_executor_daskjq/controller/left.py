"""What a controller knows of jobs, so that a run which asks for one that a killed Snakemake has left can have it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..model.outcome import End, Outcome
from ..policy import messages

if TYPE_CHECKING:
    from ..model.claim import Claim
    from ..model.request import Request
    from ..policy.messages import Event

KNOWN = (End.SUCCEEDED, End.FAILED, End.OUT_OF_MEMORY, End.OVER_RUNTIME)
"""Ends of jobs that were theirs: after others, a job starts anew."""


@dataclass(slots=True)
class Entry:
    """A job that a run has submitted, and how it has ended where nobody was there to hear of it."""

    run: int
    claim: Claim
    outcome: Outcome | None = None
    pilot: str = ""


class Left:
    """The jobs of all runs that say what they write, and which runs' Snakemakes have died."""

    def __init__(self) -> None:
        self._jobs: dict[str, Entry] = {}
        self._writes: dict[str, str] = {}  # which job writes a file
        self._runs: set[int] = set()

    def leave(self, run: int) -> None:
        """A run's Snakemake has died."""
        self._runs.add(run)

    def running(self) -> int:
        """How many jobs run that were left."""
        return sum(entry.run in self._runs and entry.outcome is None for entry in self._jobs.values())

    def has_jobs(self, run: int) -> bool:
        """Whether a run has jobs that have not ended."""
        return any(entry.run == run and entry.outcome is None for entry in self._jobs.values())

    def over(self, run: int) -> None:
        """A run has ended as it should: nobody will ask for its jobs."""
        if run not in self._runs:
            for key in [key for key, entry in self._jobs.items() if entry.run == run]:
                self._forget(key)

    def give_up(self, run: int) -> None:
        """None of a run's jobs that have not ended ever will."""
        for key in [key for key, entry in self._jobs.items() if entry.run == run and entry.outcome is None]:
            self._forget(key)

    def ended(self, request: Request, outcome: Outcome, pilot: str) -> None:
        """A job has ended, which its Snakemake may not live to note: that is kept for whoever asks."""
        entry = self._jobs.get(request.key)
        if entry is None or entry.run != request.run:
            return
        if outcome.end in KNOWN:
            entry.outcome, entry.pilot = outcome, pilot
        else:
            self._forget(request.key)

    def submitted(self, request: Request, claim: Claim | None) -> Event:
        """What a job's submission is to the core: one that goes on, has ended, comes after others, or is new."""
        if claim is None:
            return messages.JobsSubmitted((request,))
        earlier = self._jobs.get(request.key)
        found = earlier if earlier is not None and earlier.run in self._runs else None
        event: Event
        if found is not None and found.claim.mark == claim.mark:
            if found.outcome is None:
                event = messages.JobTakenOver(request)
            elif found.outcome.end is not End.SUCCEEDED or all(map(os.path.exists, claim.outputs)):
                event = messages.JobHadEnded(request, found.outcome, found.pilot)
            else:
                event = messages.JobsSubmitted((request,))
        else:
            writers = {self._writes[path] for path in claim.outputs if path in self._writes}
            others = {key for key in {request.key, *writers} if self._is_left_and_runs(key)}
            event = messages.JobReplaces(request, tuple(sorted(others)))
            for key in others:
                self._forget(key)
        self._jobs[request.key] = Entry(request.run, claim)
        self._writes.update(dict.fromkeys(claim.outputs, request.key))
        return event

    def _is_left_and_runs(self, key: str) -> bool:
        entry = self._jobs.get(key)
        return entry is not None and entry.run in self._runs and entry.outcome is None

    def _forget(self, key: str) -> None:
        entry = self._jobs.pop(key)
        for path in entry.claim.outputs:
            if self._writes.get(path) == key:
                del self._writes[path]
