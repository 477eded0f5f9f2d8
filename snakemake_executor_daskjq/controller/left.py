"""What a controller knows of jobs, so that a run which asks for one that a killed Snakemake has left can have it."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..model.claim import LeftJob
from ..model.outcome import End, Outcome
from ..policy import messages

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..model.claim import Claim
    from ..model.request import Request
    from ..policy.messages import Event

KNOWN = (End.SUCCEEDED, End.FAILED, End.OUT_OF_MEMORY, End.OVER_RUNTIME)
"""Ends of jobs that were theirs: after others, a job starts anew."""


@dataclass(slots=True)
class Entry:
    """A job that a run has submitted, and how it has ended where nobody was there to hear of it."""

    request: Request
    claim: Claim
    outcome: Outcome | None = None
    pilot: str = ""
    is_reported: bool = False

    @property
    def run(self) -> int:
        return self.request.run


class Left:
    """The jobs of all runs that say what they write, and which runs' Snakemakes have died."""

    def __init__(self) -> None:
        self._jobs: dict[str, Entry] = {}
        self._writes: dict[str, str] = {}  # which job writes a file
        self._going_on: defaultdict[int, set[str]] = defaultdict(set)  # what has not ended, by run
        self._names: dict[int, str] = {}  # of the folders of runs that were left

    def leave(self, run: int, name: str) -> None:
        """A run's Snakemake has died; its folder has this name."""
        self._names[run] = name

    def running(self) -> int:
        """How many jobs run that were left."""
        return sum(len(self._going_on[run]) for run in self._names)

    def over_runs(self) -> set[int]:
        """The runs that were left of which no job goes on."""
        return {run for run in self._names if not self._going_on[run]}

    def jobs(self) -> dict[str, LeftJob]:
        """Jobs that were left, by their outputs; those without any by their rule, unless their end has been reported.

        Whether one with outputs is done, Snakemake's marks of these tell.
        """
        return {
            name: LeftJob(self._names[entry.run], key, entry.request.attempt, entry.outcome is not None)
            for key, entry in self._jobs.items()
            if entry.run in self._names
            for name in entry.claim.outputs or (() if entry.is_reported else (entry.request.rule,))
        }

    def reported(self, keys: Iterable[str]) -> None:
        """A Snakemake has heard of ends."""
        for key in keys:
            if key in self._jobs:
                self._jobs[key].is_reported = True

    def over(self, run: int) -> None:
        """A run has ended as it should: nobody will ask for its jobs."""
        if run not in self._names:
            for key in [key for key, entry in self._jobs.items() if entry.run == run]:
                self._forget(key)

    def give_up(self, run: int) -> None:
        """None of a run's jobs that have not ended ever will."""
        for key in list(self._going_on[run]):
            self._forget(key)

    def ended(self, request: Request, outcome: Outcome, pilot: str) -> None:
        """A job has ended, which its Snakemake may not live to note: that is kept for whoever asks."""
        entry = self._jobs.get(request.key)
        if entry is None or entry.run != request.run:
            return
        if outcome.end in KNOWN:
            entry.outcome, entry.pilot = outcome, pilot
            self._going_on[entry.run].discard(request.key)
        else:
            self._forget(request.key)

    def submitted(self, request: Request, claim: Claim | None) -> Event:
        """What a job's submission is to the core: one that goes on, has ended, comes after others, or is new."""
        if claim is None:
            return messages.JobsSubmitted((request,))
        earlier = self._jobs.get(request.key)
        found = earlier if earlier is not None and earlier.run in self._names else None
        event: Event
        others: set[str] = set()
        if found is None or found.claim.mark != claim.mark:
            writers = {self._writes[path] for path in claim.writes if path in self._writes}
            others = {key for key in {request.key, *writers} if self._is_left_and_runs(key)}
            event = messages.JobReplaces(request, tuple(sorted(others)))
        elif found.outcome is None:
            event = messages.JobTakenOver(request)
        elif found.outcome.end is not End.SUCCEEDED or all(map(os.path.exists, claim.outputs)):
            event = messages.JobHadEnded(request, found.outcome, found.pilot)
        else:
            event = messages.JobsSubmitted((request,))
        for key in {request.key, *others} & self._jobs.keys():
            self._forget(key)
        self._jobs[request.key] = Entry(request, claim)
        self._going_on[request.run].add(request.key)
        self._writes.update(dict.fromkeys(claim.writes, request.key))
        return event

    def _is_left_and_runs(self, key: str) -> bool:
        entry = self._jobs.get(key)
        return entry is not None and entry.run in self._names and entry.outcome is None

    def _forget(self, key: str) -> None:
        entry = self._jobs.pop(key)
        self._going_on[entry.run].discard(key)
        for path in entry.claim.writes:
            if self._writes.get(path) == key:
                del self._writes[path]
