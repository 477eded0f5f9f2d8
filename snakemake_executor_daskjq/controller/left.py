"""What a controller knows of jobs, so that a run which asks for one that a killed Snakemake has left can have it."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ..errors import TakenOverError
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

HEARD_S = 600.0
"""After it has heard of a job's success, Snakemake notes that within this time."""


@dataclass(slots=True)
class Entry:
    """A job that a run has submitted, and how it has ended where nobody was there to hear of it.

    `is_reported`: its Snakemake has heard of its end. `is_replaced`: it is ended for another, which may take a while.
    """

    request: Request
    claim: Claim
    outcome: Outcome | None = None
    pilot: str = ""
    is_reported: bool = False
    is_replaced: bool = False


class Place(NamedTuple):
    """A run's folder: its name, and the log folder that it is in."""

    name: str
    base: str


class Left:
    """The jobs of all runs that say what they write, and which runs' Snakemakes have died."""

    def __init__(self) -> None:
        self._jobs: dict[str, Entry] = {}
        self._writers: dict[str, tuple[str, ...]] = {}  # which jobs write a file: all but the last one are being ended
        self._going_on: defaultdict[int, set[str]] = defaultdict(set)  # what has not ended, by run
        self._places: dict[int, Place] = {}  # of runs that were left
        self._ending: set[int] = set()

    def leave(self, run: int, place: Place) -> None:
        """A run's Snakemake has died. Successes that it has heard of some time ago are done."""
        self._places[run] = place
        own = {key: entry for key, entry in self._jobs.items() if entry.request.run == run}
        latest = max((entry.outcome.ended_at for entry in own.values() if entry.outcome), default=0.0)
        for key, entry in own.items():
            success = entry.outcome is not None and entry.outcome.end is End.SUCCEEDED and entry.is_reported
            if success and entry.outcome is not None and entry.outcome.ended_at < latest - HEARD_S:
                self._forget(key)

    def running(self) -> int:
        """How many jobs run that were left."""
        return sum(len(self._going_on[run]) for run in self._places)

    def over_runs(self) -> set[int]:
        """The runs that were left of which no job goes on."""
        return {run for run in self._places if not self._going_on[run]}

    def jobs(self, base: str) -> dict[str, LeftJob]:
        """Jobs that were left by runs in a log folder, by what runs know them by (see `claim`).

        One without outputs of whose end its Snakemake has heard is done. Whether one with outputs is, Snakemake's marks
        of these tell.
        """
        return {
            name: LeftJob(self._places[run].name, key, entry.request.attempt, entry.outcome is not None)
            for key, entry in self._jobs.items()
            if (run := entry.request.run) in self._places and self._places[run].base == base and not entry.is_replaced
            for name in entry.claim.outputs or (() if entry.is_reported else (entry.claim.name,))
        }

    def reported(self, keys: Iterable[str]) -> None:
        """A Snakemake has heard of ends."""
        for key in keys:
            if key in self._jobs:
                self._jobs[key].is_reported = True

    def ends(self, run: int) -> None:
        """A run is about to end: its jobs are ended, which may take a while."""
        self._ending.add(run)

    def over(self, run: int) -> None:
        """Nothing of a run runs any more. How jobs of one that was left have ended is kept for whoever asks."""
        self._ending.discard(run)
        was_left = run in self._places
        for key in [key for key, entry in self._jobs.items() if entry.request.run == run]:
            if not was_left or self._jobs[key].outcome is None:
                self._forget(key)
        self._going_on.pop(run, None)

    def give_up(self, run: int) -> None:
        """What is left of a run starts nowhere any more: what runs of it is ended."""
        for key in self._going_on[run]:
            self._jobs[key].is_replaced = True
        self._going_on[run].clear()

    def ended(self, request: Request, outcome: Outcome, pilot: str) -> None:
        """A job has ended, which its Snakemake may not live to note: that is kept for whoever asks."""
        entry = self._jobs.get(request.key)
        if entry is None or entry.request.run != request.run:
            return
        if outcome.end in KNOWN:
            entry.outcome, entry.pilot = outcome, pilot
            self._going_on[request.run].discard(request.key)
        else:
            self._forget(request.key)

    def check(self, requests: Iterable[Request]) -> None:
        """Raises TakenOverError where another run that lives has taken over the same job."""
        for request in requests:
            earlier = self._jobs.get(request.key)
            if earlier is not None and earlier.outcome is None and not self._is_left(earlier):
                raise TakenOverError(request.rule)

    def submitted(self, request: Request, claim: Claim | None) -> Event:
        """What a job's submission is to the core: one that goes on, has ended, comes after others, or is new."""
        if claim is None:
            return messages.JobsSubmitted((request,))
        earlier = self._jobs.get(request.key)
        event: Event
        if earlier is None or earlier.is_replaced or earlier.claim.mark != claim.mark or not self._is_left(earlier):
            event = messages.JobReplaces(request, self._to_end_for(request, claim))
        elif earlier.outcome is None:
            event = messages.JobTakenOver(request)
        elif earlier.outcome.end is not End.SUCCEEDED or all(map(os.path.exists, claim.outputs)):
            event = messages.JobHadEnded(request, earlier.outcome, earlier.pilot)
        else:
            event = messages.JobsSubmitted((request,))
        self._enter(request, claim)
        return event

    def _is_left(self, entry: Entry) -> bool:
        return entry.is_replaced or entry.request.run in self._places or entry.request.run in self._ending

    def _to_end_for(self, request: Request, claim: Claim) -> tuple[str, ...]:
        """Jobs that were left, or are being ended, and may run still: they write what this one does, or are it."""
        writers = {key for path in claim.writes for key in self._writers.get(path, ())}
        known = {key: self._jobs[key] for key in {request.key, *writers} if key in self._jobs}
        return tuple(sorted(key for key, entry in known.items() if entry.outcome is None and self._is_left(entry)))

    def _enter(self, request: Request, claim: Claim) -> None:
        """The job is this run's now. Those that have ended and wrote the same are of no interest any more."""
        writers = {key for path in claim.writes for key in self._writers.get(path, ())}
        for key in {request.key, *writers} & self._jobs.keys():
            entry = self._jobs[key]
            if key == request.key or entry.outcome is not None:
                self._forget(key)
            elif self._is_left(entry):
                entry.is_replaced = True
                self._going_on[entry.request.run].discard(key)
        self._jobs[request.key] = Entry(request, claim)
        self._going_on[request.run].add(request.key)
        for path in claim.writes:
            self._writers[path] = (*self._writers.get(path, ()), request.key)

    def _forget(self, key: str) -> None:
        entry = self._jobs.pop(key)
        self._going_on[entry.request.run].discard(key)
        for path in entry.claim.writes:
            if left := tuple(other for other in self._writers.get(path, ()) if other != key):
                self._writers[path] = left
            else:
                self._writers.pop(path, None)
