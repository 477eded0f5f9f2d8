"""The controller core: `handle(*events, now=...)` decides, and nothing else does.

Pure: no clock, no I/O, no Dask, no threads. A run, the replay of a trace, the forecast of `daskjq explain` and tests
all drive this one. Each call takes a burst of events and ends with one round: place what fits, request pilots for
the rest, end idle ones.

What must hold: each submitted job ends in exactly one `ReportEnd`, nothing is placed beyond a pilot's free amounts,
and a job that was lost with its pilot starts elsewhere only once nothing of it can run any more.
"""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import TYPE_CHECKING

from ..batch.base import Cause
from ..journal import events as journal
from ..model.outcome import PILOT_ENDS, PILOT_GONE, End, Outcome
from ..model.usage import Usage
from . import messages
from .budget import NO_LIMIT
from .estimates import LOOK_AHEAD_S
from .gangs import Gangs
from .gathering import Gathering
from .job import Job
from .left_jobs import LeftJobs
from .look_ahead import look_ahead
from .pilots import Pilots
from .placement import place
from .provision import Provision
from .queue import ReadyQueue
from .runs import Runs
from .status import status_of
from .waits import waits_for
from .work import Work

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..model.pool import Pool
    from ..model.request import Request
    from .budget import Budget
    from .messages import Event, Instruction
    from .pilots import Pilot
    from .rooms import Room
    from .status import PilotStatus, RunStatus

UPKEEP_S = 0.25
"""Pilots are thought about at most this often, for each time costs by pilots; jobs are placed at once."""


class Core:
    """The pilots of a controller and the jobs of its runs, and what follows from each event.

    Jobs' keys are unique among all runs.

    Parameters
    ----------
    pools : completed ones.
    seed : of the jitter that keeps controllers from trying again at the same moment.
    budget : what all pilots together may have.
    """

    def __init__(self, pools: Iterable[Pool], seed: int = 0, budget: Budget = NO_LIMIT) -> None:
        self._out = messages.Outbox()
        self.runs = Runs()
        self.pilots = Pilots(pools, self._out, self.runs, random.Random(seed), budget)
        self._now = -math.inf
        self._ready = ReadyQueue(self.runs.expected_s, lambda run, rule: self.runs.urgency_s(run, rule, self._now))
        self._jobs: dict[str, Job] = {}
        self._gangs = Gangs()
        self._work = Work(self._jobs, self._ready, self._gangs, self.pilots, self.runs)
        self._gathering = Gathering(self._gangs, self._jobs, self._ready, self._work, self._out)
        self._left = LeftJobs(self._jobs, self._ready, self.pilots, self._gangs, self._gathering, self._out)
        self._provision = Provision(self.pilots, self._ready, self._work, self.runs, self._out)
        self._changed: dict[str, Pilot] = {}  # pilots on which jobs have started or ended since the last round
        self._upkeep_from = -math.inf  # pilots are not thought about again before
        self._upkeep_at = -math.inf
        self._is_over = False
        self._woken_at = math.inf

    def waiting(self, run: int = 1) -> list[str]:
        """The keys of a run's jobs that were never placed, or were not when it ended."""
        if (known := self.runs.get(run)) is not None and known.is_ending:
            return sorted(known.never_placed)
        waiting = [key for key, job in self._of(run) if job.tries == 0 and not job.request.leader]
        return waiting + [request.key for request in self._left.successors.of(run)]

    def _of(self, run: int) -> list[tuple[str, Job]]:
        return [(key, job) for key, job in self._jobs.items() if job.request.run == run]

    def handle(self, *events: Event, now: float) -> list[Instruction]:
        """What follows from a burst of events at `now`, which never goes back; to be carried out in this order."""
        if self._is_over:
            return []
        self._now = now = max(now, self._now)
        for event in events:
            self._take(event, now)
            if not isinstance(event, messages.Woken | messages.PlanMade):
                self._upkeep_at = min(self._upkeep_at, self._upkeep_from)
        if not self._is_over:
            self._round(now)
        return self._out.take(self._counts(now) if self._out.is_counted() else "")

    def _take(self, event: Event, now: float) -> None:
        match event:
            case messages.JobEnded():
                self._job_ended(event, now)
            case messages.JobsSubmitted():
                for request in event.requests:
                    self._submit(request, now if event.since is None else event.since)
            case messages.JobUnstarted():
                self._note_submitted(event.request)
                outcome = Outcome(End.NOT_STARTED, detail=event.why)
                ended = journal.JobEnded.of(event.request, "", outcome, reported=True)
                self._out.record(ended, event.request.run)
            case messages.JobsWithdrawn():
                self._withdraw(event.run, now)
            case messages.JobTakenOver():
                if self._left.runs(event.request.key):
                    self._note_submitted(event.request)
                    self._left.take_over(event.request, now)
                else:
                    self._replace(event.request, [event.request.key], now)
            case messages.JobReplaces():
                self._replace(event.request, event.keys, now)
            case messages.JobHadEnded():
                self._note_submitted(event.request)
                self._left.had_ended(event.request, event.outcome, event.pilot)
            case messages.JobAdopted():
                self._adopt(event)
            case messages.PilotAdopted():
                self.pilots.adopted(event.pilot, event.pool, event.host, event.connected_at, now)
            case messages.RuleMeasured():
                self.runs[event.run].estimates.measured(event.rule, event.jobs, event.wall_s)
            case messages.OutlookLearned():
                self.runs[event.run].estimates.learn(event.outlook)
            case messages.PilotSubmitted():
                self.pilots.submitted(event.pilot, event.batch_id, now)
            case messages.PilotStartFailed():
                self.pilots.start_failed(event.pilot, event.words, now)
            case messages.PilotConnected():
                self.pilots.connected(event.pilot, event.host, now)
            case messages.PilotGranted():
                self.pilots.granted(event.pilot, event.cores)
            case messages.PilotShared():
                self.pilots.shared(event.pilot, event.others)
            case messages.PilotDisconnected():
                self.pilots.disconnected(event.pilot, now)
            case messages.PilotGone():
                self._pilot_gone(event, now)
            case messages.BatchAnswered():
                self.pilots.listed(event, now)
            case messages.PlanMade():
                self._provision.planned(event, now)
            case messages.Woken():
                self._woken_at = math.inf
            case messages.RunBegins():
                self.runs.begin(event.run, event.history, event.keep_s, now)
                self.pilots.introduce(event.run)
            case messages.RunEnds():
                self._end_run(event.run, now)
            case messages.ControllerEnds():
                self._is_over = True
                self._end_workers(now)
                self.pilots.close(now)

    # -- jobs ---------------------------------------------------------------------------------------------------

    def _submit(self, asked: Request, now: float) -> None:
        request = self._with_memory(asked)
        self._jobs[request.key] = Job(request)
        self._note_submitted(request)
        self._queue(request, now)

    def _queue(self, request: Request, now: float) -> None:
        if self.runs[request.run].has_given_up:
            return  # it waits for the end of its run
        if request.workers is None or self._gangs.may_be_queued(request):
            self._ready.push(request, now)
        else:
            self._gathering.record_held([request])

    def _withdraw(self, run: int, now: float) -> None:
        waiting = [self._jobs[key].request for key, job in self._of(run) if job.tries == 0 and not job.request.leader]
        self._ready.remove({request.key for request in waiting})
        self.runs[run].estimates.nothing_to_come()
        for request in waiting:
            del self._jobs[request.key]
            self._gangs.leader_ended(request.key)
        for request in waiting + self._left.successors.take(run):
            self._out.record(journal.JobWithdrawn(key=request.key), run)
            self._out.add(messages.ReportEnd(request, Outcome(End.WITHDRAWN), ""))
        self._gathering.queue_released(now)

    def _end_run(self, run: int, now: float) -> None:
        """Forget the run's jobs that wait, and end those that run. It is over once none of them is left."""
        self.runs[run].never_placed = frozenset(self.waiting(run))
        self.runs[run].is_ending = True
        self.runs[run].estimates.nothing_to_come()
        self._left.successors.take(run)
        for key, job in self._of(run):
            if job.request.workers is not None and key in self._jobs:
                self._gathering.disband(job.request, now)
        own = self._of(run)
        self._ready.remove({key for key, job in own if not job.pilot})
        for key, job in own:
            if job.pilot:
                job.is_unwanted = True
                self._out.add(messages.EndJob(key, job.pilot))
            else:
                del self._jobs[key]
        self._close_run(run, now)

    def _close_run(self, run: int, now: float) -> None:
        """Close a run that is ending where none of its jobs is left."""
        if self.runs[run].is_ending and not self._of(run):
            for pilot in self.pilots.all():
                if pilot.is_running:
                    self.runs[run].pilot_left(pilot, now)
            self._out.add(messages.RunOver(run, self.runs[run].summary, self.runs[run].never_placed))
            self.runs.end(run)
            self._ready.forget(run)

    def _replace(self, request: Request, keys: Iterable[str], now: float) -> None:
        """Queue a job once others that are left are over."""
        if not self._left.end_for(request, keys, now):
            self._submit(request, now)

    def _note_submitted(self, request: Request) -> None:
        if request.attempt == 1:
            self.runs[request.run].estimates.submitted(request.rule)
        self._out.record(journal.JobSubmitted.of(request), request.run)

    def _with_memory(self, request: Request) -> Request:
        """A job that states no memory gets what its rule has needed in earlier runs set aside.

        Set aside only: it has no limit, and is never too large for a pool that could hold it without.
        """
        estimates = self.runs[request.run].estimates
        wanted = None if "mem_mb" in request.amounts else estimates.memory_mb(request.rule)
        if wanted is None or request.workers is not None:  # whose room beside it was reckoned with what it asks for
            return request
        offers = [pool.amounts["mem_mb"] for pool in self._work.fitting(request)]
        return replace(request, amounts={**request.amounts, "mem_mb": min([wanted, *offers])})

    def _adopt(self, event: messages.JobAdopted) -> None:
        pilot, request = self.pilots.get(event.pilot), event.request
        if pilot is None or pilot.room is None or request.key in self._jobs:
            return
        if self.pilots.ledger.can_book(pilot.room, request):
            expected_s = self.runs.expected_s(request)
            ends_at = math.inf if expected_s is None else event.placed_at + expected_s
            self.pilots.ledger.book(pilot.room, request, ends_at)
        else:  # it waits at the pilot for one of its kind to end
            pilot.ahead.append(request.key)
        self._jobs[request.key] = Job(request, 1, placed_at=event.placed_at, pilot=pilot.name)
        pilot.jobs.add(request.key)

    def _start(self, request: Request, pilot: Pilot, now: float) -> None:
        job = self._jobs[request.key]
        job.tries += 1
        job.placed_at, job.pilot = now, pilot.name
        pilot.jobs.add(request.key)
        self._changed[pilot.name] = pilot
        self._out.record(journal.JobPlaced(key=request.key, pilot=pilot.name, tries=job.tries), request.run)
        self._out.add(messages.StartJob(request, pilot.name))
        if request.workers is not None:
            self._gathering.gather(request, pilot, now)
        elif request.leader:
            self._gangs.worker_started(request)
            self._gathering.queue_released(now)

    def _job_ended(self, event: messages.JobEnded, now: float) -> None:
        job = self._jobs.get(event.key)
        if job is None or job.pilot != event.pilot or job.lost is not None:
            return  # told before
        pilot, outcome = self.pilots[event.pilot], event.outcome
        if outcome.end is End.LOST:
            told_so = pilot.is_running or outcome.detail == PILOT_ENDS  # and nothing of the job was left then
            if told_so or pilot.gone is not None:
                self._lost(job, pilot, outcome, now)
            else:
                job.lost = outcome  # it may start elsewhere once its pilot is known dead
                self._gathering.disband(job.request, now)
            return
        self._end_try(job, pilot, outcome, now, reported=not job.is_unwanted)
        if outcome.end in (End.SUCCEEDED, End.FAILED) and not job.request.leader:
            self.runs[job.request.run].estimates.job_ended(job.request.rule, outcome.wall_s)
        if outcome.end is End.SUCCEEDED and not job.request.leader:
            usage = Usage(1, outcome.wall_s, outcome.cpu_s, outcome.peak_mem_mb, now)
            self._out.add(messages.Learn(job.request.rule, usage, job.request.run))
        self._report(job, pilot, outcome, now)
        self.pilots.job_left(pilot, now)

    def _end_try(self, job: Job, pilot: Pilot, outcome: Outcome, now: float, *, reported: bool) -> None:
        """Take a job off its pilot, record how that went, and count what it has used."""
        request = job.request
        self._give_back(pilot, request.key, now)
        pilot.jobs.discard(request.key)
        self._changed[pilot.name] = pilot
        job.pilot, job.lost = "", None
        self._out.record(journal.JobEnded.of(request, pilot.name, outcome, reported=reported), request.run)
        summary = self.runs[request.run].summary
        summary.started(request.rule, outcome.warm_start, outcome.colder_because)
        summary.used(request.amounts["cores"] * pilot.pool.nodes * outcome.wall_s)

    def _give_back(self, pilot: Pilot, key: str, now: float) -> None:
        if key in pilot.ahead:
            pilot.ahead.remove(key)  # it was never in the ledger, and one that is has its place
            return
        like = self._jobs[key].request
        alike = [one for one in (self._jobs[ahead].request for ahead in pilot.ahead) if one.shape == like.shape]
        # Those of another run have been taken over, or what runs was: Dask's worker does not tell them apart.
        next_ = next((one for one in alike if one.run == like.run), alike[0] if alike else None)
        if pilot.room is None:
            return
        if next_ is None:
            self.pilots.ledger.give_back(pilot.room, key)
        else:
            pilot.ahead.remove(next_.key)
            self.pilots.ledger.pass_on(pilot.room, key, next_, now + LOOK_AHEAD_S)

    def _lost(self, job: Job, pilot: Pilot, outcome: Outcome, now: float) -> None:
        """Nothing of this try can run any more: the job goes back to the queue, or has been lost too often."""
        if outcome.detail == PILOT_ENDS:
            job.losses = job.losses.with_one(pilot.name, PILOT_ENDS, crash=False)
            if pilot.is_running:
                self.pilots.told_to_end(pilot, now)
        elif pilot.gone is not None:
            crash = pilot.gone.cause is Cause.CRASH
            job.losses = job.losses.with_one(pilot.name, pilot.gone.words, crash=crash)
        else:  # the pilot told so itself, and has ended what was left; or it was gone before the job came to it
            job.losses = job.losses.with_one(pilot.name, outcome.detail, crash=outcome.detail != PILOT_GONE)
        # A Dask worker gets another in its place, and what nobody wants any more is not started again.
        retry = not (job.losses.given_up or job.request.leader or job.is_unwanted)
        self._end_try(job, pilot, outcome, now, reported=not (retry or job.request.leader))
        self._gathering.disband(job.request, now)
        if retry:
            if job.losses.suspect and job.request.workers is None:  # which need the room beside it
                job.request = self._alone(job.request)
            self._queue(job.request, now)
        else:
            self._report(job, pilot, Outcome(End.LOST, detail=job.losses.reason()), now)
        self.pilots.job_left(pilot, now)

    def _report(self, job: Job, pilot: Pilot, outcome: Outcome, now: float) -> None:
        del self._jobs[job.request.key]
        if job.is_unwanted:
            self._gathering.disband(job.request, now)
            self._close_run(job.request.run, now)
            for request in self._left.successors.ended(job.request.key):
                self._submit(request, now)
        elif job.request.leader:
            self._gathering.worker_ended(job, outcome, now)
        else:
            self._gathering.disband(job.request, now)
            self._out.add(messages.ReportEnd(job.request, outcome, pilot.name))

    def _end_workers(self, now: float) -> None:
        """Count what workers have used that a leader has left, which are ended with the run."""
        for job in list(self._jobs.values()):
            if job.pilot and job.request.leader and job.request.leader not in self._jobs and job.lost is None:
                outcome = Outcome(End.SUCCEEDED, started_at=job.placed_at, ended_at=now)
                self._end_try(job, self.pilots[job.pilot], outcome, now, reported=True)
                del self._jobs[job.request.key]

    def _alone(self, request: Request) -> Request:
        """A job that may be what takes pilots down has its last try on a pilot of its own."""
        whole = [pool.amounts["cores"] for pool in self._work.fitting(request)]
        return replace(request, amounts={**request.amounts, "cores": max([request.amounts["cores"], *whole])})

    def _pilot_gone(self, event: messages.PilotGone, now: float) -> None:
        pilot = self.pilots.gone(event.pilot, event.ended, now)
        if pilot is None:
            return
        for job in [self._jobs[key] for key in sorted(pilot.jobs)]:
            if job.lost is not None:
                self._lost(job, pilot, job.lost, now)

    # -- rounds -------------------------------------------------------------------------------------------------

    def _round(self, now: float) -> None:
        due = self._place_and_plan(now) if self._jobs or self.pilots else []
        self.pilots.ask(now)
        at = min([*due, self.pilots.watch.due])
        if at < math.inf and at != self._woken_at:
            self._woken_at = at
            self._out.add(messages.WakeAt(at))

    def _place_and_plan(self, now: float) -> list[float]:
        """Place what fits, and think about pilots where that is due. When to look again at the latest."""
        self._gathering.has_queued = True
        while self._gathering.has_queued:
            self._gathering.has_queued = False
            for request, room in self._one_leader_of(place(self._ready, self.pilots.ledger, now), now):
                self._start(request, self.pilots[room.pilot], now)
        changed, self._changed = self._changed, {}
        for pilot in changed.values():
            for request in self._sent_ahead(pilot, now):
                self._start(request, pilot, now)
        if now >= self._upkeep_at:
            due = self._provision.upkeep(now)
            self._upkeep_from = now + UPKEEP_S
            self._upkeep_at = max(self._upkeep_from, min(due, default=math.inf))
        return [self._upkeep_at]

    def _one_leader_of(self, placed: list[tuple[Request, Room]], now: float) -> list[tuple[Request, Room]]:
        """Those of the jobs that have found room that start: one gang at a time gathers, other leaders go back."""
        for request, room in [one for one in placed if one[0].workers is not None][1:]:
            self.pilots.ledger.give_back(room, request.key)
            self._ready.push(request, now)
            placed.remove((request, room))
            self._gathering.has_queued = True
        return placed

    def _sent_ahead(self, pilot: Pilot, now: float) -> list[Request]:
        some = next((self._jobs[key].request for key in pilot.jobs), None)
        if some is None or not self.runs.ahead_of(some.run, some.rule):
            return []  # most jobs are too long for it: no list of all is made for each end
        on_pilot = {key: self._jobs[key] for key in pilot.jobs}
        running = [job.placed_at for key, job in on_pilot.items() if key not in pilot.ahead]
        requests = [job.request for job in on_pilot.values()]
        held = self.pilots.ledger.held
        ahead = look_ahead(requests, running, pilot.room, len(pilot.ahead), self._ready, self.runs, held, now)
        pilot.ahead += [request.key for request in ahead]
        return ahead

    # -- what users and tests see -------------------------------------------------------------------------------

    def status(self) -> tuple[list[PilotStatus], list[RunStatus]]:
        """What there is now."""
        return status_of(self.pilots.all(), self._jobs.values(), self.runs)

    def _counts(self, now: float) -> str:
        waiting = len(self._ready) + len(self._gangs)
        jobs = f"jobs: {len(self._jobs) - waiting} running, {waiting} waiting"
        first = next((group.head for group in self._ready.ranked(now) if group.waiting), None)
        if first is not None:
            fitting = [pool.name for pool in self._work.fitting(first)]
            jobs += f", {first.rule} for {waits_for(first, fitting, *self.pilots.by_pool(), now)}"
        return f"({self.pilots.counts()}; {jobs})"

    def validate(self) -> None:
        """Raises AssertionError where an invariant does not hold."""
        if self._is_over:
            return
        self.pilots.validate()
        waiting = [request.key for request in self._ready.waiting()]
        assert len(waiting) == len(set(waiting)) == len(self._ready)
        held = self._gangs.held()
        assert {*waiting, *held} == {
            key for key, job in self._jobs.items() if not (job.pilot or self.runs[job.request.run].has_given_up)
        }
        assert not set(waiting).intersection(held)
        on_pilots = {key: pilot.name for pilot in self.pilots.all() for key in pilot.jobs}
        assert on_pilots == {key: job.pilot for key, job in self._jobs.items() if job.pilot}
        self.pilots.ledger.validate_held()
