"""Jobs that a run has left behind whose Snakemake has died: what becomes of them when a later run asks for the same."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..journal import events as journal
from . import messages

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from ..model.outcome import Outcome
    from ..model.request import Request
    from .gangs import Gangs
    from .gathering import Gathering
    from .job import Job
    from .pilots import Pilots
    from .queue import ReadyQueue


class Successors:
    """Requests by the jobs that have to be over first.

    >>> from snakemake_executor_daskjq.model.request import Request
    >>> successors, request = Successors(), Request("b", 1, "rule", 1, {"cores": 1}, run=2)
    >>> successors.add(request, ["a", "c"])
    >>> successors.ended("a"), [one.key for one in successors.ended("c")], successors.of(2)
    ([], ['b'], [])
    """

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[Request, set[str]]] = {}

    def add(self, request: Request, keys: Collection[str]) -> None:
        """`request` waits for the ends of these, of which there is one at the least."""
        self._waiting[request.key] = request, set(keys)

    def ended(self, key: str) -> list[Request]:
        """A job is over: the requests that wait for no other."""
        for _, keys in self._waiting.values():
            keys.discard(key)
        return self._take([request for request, keys in self._waiting.values() if not keys])

    def drop(self, key: str) -> tuple[int, set[str]] | None:
        """Take out one by its own key: its run, and what it waits for; None where it does not wait."""
        request, keys = self._waiting.pop(key, (None, set()))
        return None if request is None else (request.run, keys)

    def of(self, run: int) -> list[Request]:
        """Those of a run."""
        return [request for request, _ in self._waiting.values() if request.run == run]

    def take(self, run: int) -> list[Request]:
        """Take out those of a run."""
        return self._take(self.of(run))

    def _take(self, requests: list[Request]) -> list[Request]:
        for request in requests:
            del self._waiting[request.key]
        return requests


class LeftJobs:
    """Gives jobs to other runs, or ends them for other jobs. What is to be done goes to `out`."""

    def __init__(
        self,
        jobs: dict[str, Job],
        ready: ReadyQueue,
        pilots: Pilots,
        gangs: Gangs,
        gathering: Gathering,
        out: messages.Outbox,
    ) -> None:
        self.successors = Successors()
        self._jobs = jobs
        self._ready = ready
        self._pilots = pilots
        self._gangs = gangs
        self._gathering = gathering
        self._out = out

    def runs(self, key: str) -> bool:
        """Whether a job is on a pilot, and not to be ended."""
        job = self._jobs.get(key)
        return job is not None and bool(job.pilot) and not job.is_unwanted

    def take_over(self, asked: Request, now: float) -> None:
        """Let a job that runs go on as one of another run; its amounts are as they were."""
        key, run = asked.key, asked.run
        job = self._jobs[key]
        self._out.record(journal.JobTakenOver(key=key, by=run), job.request.run)
        for member in [job, *(self._jobs[worker] for worker in self._gangs.taken_over(key, run))]:
            member.request = replace(member.request, run=run)
            if member.pilot:
                if (room := self._pilots[member.pilot].room) is not None:
                    self._pilots.ledger.hand_over(room, member.request.key, run)
                placed = journal.JobPlaced(key=member.request.key, pilot=member.pilot, tries=member.tries)
                self._out.record(placed, run, member.placed_at)
            else:  # a Dask worker for which there is no room
                self._ready.remove({member.request.key})
                self._ready.push(member.request, now)

    def end_for(self, request: Request, keys: Iterable[str], now: float) -> bool:
        """End jobs for one that comes after them, and forget those of them that wait. False where none runs."""
        keys = list(keys)
        first: set[str] = set()
        for key in keys:
            if (dropped := self.successors.drop(key)) is not None:  # it waits itself: for the same
                run, awaited = dropped
                first |= awaited
                self._out.record(journal.JobTakenOver(key=key, by=request.run), run)
        left = [self._jobs[key] for key in keys if key in self._jobs]
        for job in left:
            if not job.pilot:
                self._forget(job, request.run, now)
            elif not job.is_unwanted:
                job.is_unwanted = True
                self._out.add(messages.EndJob(job.request.key, job.pilot))
        first |= {job.request.key for job in left if job.pilot}
        if first:
            self.successors.add(request, first)
        return bool(first)

    def had_ended(self, request: Request, outcome: Outcome, pilot: str) -> None:
        """Report the end of a job that has ended before it was submitted (once more)."""
        self._out.record(journal.JobPlaced(key=request.key, pilot=pilot, tries=1), request.run, outcome.started_at)
        self._out.record(journal.JobEnded.of(request, pilot, outcome, reported=True), request.run)
        self._out.add(messages.ReportEnd(request, outcome, pilot))

    def _forget(self, job: Job, run: int, now: float) -> None:
        """A job that was lost, and waits once more, is to be another run's."""
        key = job.request.key
        self._gathering.disband(job.request, now)
        self._ready.remove({key})
        del self._jobs[key]
        self._out.record(journal.JobTakenOver(key=key, by=run), job.request.run)
