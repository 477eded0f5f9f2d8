"""What follows for the jobs of a controller when a gang (`gangs`) starts, lacks workers, fails or ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..journal import events as journal
from ..model.outcome import End
from . import messages
from .job import Job

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from ..model.outcome import Outcome
    from ..model.request import Request
    from .gangs import Gangs
    from .pilots import Pilot
    from .queue import ReadyQueue
    from .work import Work


class Gathering:
    """Queues the workers of gangs, and takes them back. What is to be done goes to `out`.

    `has_queued` says that jobs have come to the queue since that was asked last.
    """

    def __init__(self, gangs: Gangs, jobs: dict[str, Job], ready: ReadyQueue, work: Work, out: messages.Outbox) -> None:
        self._gangs = gangs
        self._jobs = jobs
        self._ready = ready
        self._work = work
        self._out = out
        self.has_queued = False

    def gather(self, leader: Request, pilot: Pilot, now: float) -> None:
        """A leader starts: queue its workers, and hold other leaders until it has as many as it needs."""
        workers, held = self._gangs.leader_started(leader)
        self._ready.remove(held)
        self.record_held(self._jobs[key].request for key in sorted(held))
        self._queue_workers(workers, now)
        room = self._work.room_for_workers(leader, pilot)
        if room < self._gangs[leader.key].wanted.least:
            self._fail(leader, f"there is room for {room} of the Dask workers that it needs", now)

    def worker_ended(self, job: Job, outcome: Outcome, now: float) -> None:
        """A worker is over: queue another in its place, or let its leader fail where that has happened too often."""
        worker, is_lost = job.request, outcome.end is End.LOST
        if is_lost:
            self._out.record(journal.JobWithdrawn(key=worker.key), worker.run)  # another takes its place
        more, spare = self._gangs.worker_ended(worker, is_failure=not is_lost or bool(job.losses.crashes))
        self._take_back(spare)
        self._queue_workers(more, now)
        leader = self._jobs.get(worker.leader)
        if leader is not None and self._gangs.has_failed(worker.leader):
            why = f"its Dask workers end again and again, the last one: {outcome.reason()}"
            self._fail(leader.request, why, now)

    def disband(self, leader: Request, now: float) -> None:
        """A try of a leader is over, or fails: its workers that run end by themselves, those that wait do not begin."""
        if leader.workers is not None:
            self._take_back(self._gangs.leader_ended(leader.key))
            self._out.add(messages.DropWorkers(leader.key))
            self.queue_released(now)

    def queue_released(self, now: float) -> None:
        """Queue the leaders that were held where none gathers any more."""
        released = self._gangs.released()
        self.record_held(released)
        for leader in released:
            self._ready.push(leader, now)
            self.has_queued = True

    def record_held(self, leaders: Iterable[Request]) -> None:
        """Note for which gang these leaders wait."""
        for leader in leaders:
            self._out.record(journal.JobHeld(key=leader.key, by=self._gangs.gathering), leader.run)

    def _queue_workers(self, workers: Iterable[Request], now: float) -> None:
        for worker in workers:
            self._jobs[worker.key] = Job(worker)
            self._ready.push(worker, now)
            self._out.record(journal.JobSubmitted.of(worker), worker.run)
            self.has_queued = True

    def _take_back(self, workers: Collection[str]) -> None:
        self._ready.remove(workers)
        for key in sorted(workers):
            worker = self._jobs.pop(key).request
            self._out.record(journal.JobWithdrawn(key=key), worker.run)

    def _fail(self, leader: Request, why: str, now: float) -> None:
        """Let a leader fail: it ends when its workers' folder is gone."""
        self._out.tell(
            f"Rule {leader.rule} fails: {why}. The logs of Dask workers lie beside that of their rule's job "
            f"({leader.key}).",
            warning=True,
            run=leader.run,
        )
        self.disband(leader, now)
