"""Arbitrary sequences of events: whatever happens in whatever order, the promises of the core hold."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import TypeAlias

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from snakemake_executor_daskjq.batch.base import Cause, Ended, Listed, ListedState
from snakemake_executor_daskjq.model.outcome import PILOT_ENDS, End, Outcome
from snakemake_executor_daskjq.model.pool import Pool
from snakemake_executor_daskjq.model.request import DaskWorkers, Outlook, Request
from snakemake_executor_daskjq.policy import messages
from snakemake_executor_daskjq.policy.losses import LOSS_BUDGET

from .core_player import Player

POOLS = (
    Pool("small", "slurm", cores=2, mem_mb=4000, walltime_s=3600, max_pilots=3),
    Pool("large", "pbs", cores=8, mem_mb=8000, walltime_s=600, max_pilots=2, min_pilots=1),
    Pool("gpu", "local", cores=4, mem_mb=8000, others={"gpu": 1}, max_pilots=1),
)

requests = st.builds(
    lambda rule, cores, mem_mb, gpu, runtime_s, pools, priority, workers: (
        rule,
        {name: n for name, n in (("cores", cores), ("mem_mb", mem_mb), ("gpu_percent", gpu)) if n},
        runtime_s,
        pools,
        priority,
        workers and DaskWorkers(max(workers), min(workers), {"cores": 1, "mem_mb": 100}),
    ),
    st.sampled_from("abc"),
    st.integers(1, 4),
    st.sampled_from([0, 100, 3000, 7000]),
    st.sampled_from([0, 0, 0, 50, 100]),
    st.sampled_from([None, None, 60, 600, 3600]),
    st.sampled_from([None, None, ("small", "gpu"), ("large",)]),
    st.integers(-1, 1),
    st.none() | st.none() | st.tuples(st.integers(1, 4), st.integers(1, 4)),
)
Asked: TypeAlias = tuple[str, dict[str, int], int | None, tuple[str, ...] | None, int, DaskWorkers | None]
outcomes = st.sampled_from(
    [
        *[(End.SUCCEEDED, "")] * 2,
        *[(End.FAILED, ""), (End.OUT_OF_MEMORY, "")],
        *[(End.LOST, "the launcher is gone"), (End.LOST, PILOT_ENDS)],
    ]
)
some = st.integers(0, 10**6)


class CoreMachine(RuleBasedStateMachine):
    """Anything may happen to what the core has asked for, also twice, too late, or never."""

    def __init__(self) -> None:
        super().__init__()
        self.run = Player(*POOLS, program=False)
        self.submitted: list[str] = []
        self.alive: set[str] = set()  # connected pilots
        self.lost_with: dict[str, set[str]] = {}  # pilot that is not known dead -> its jobs
        self.workers: dict[str, DaskWorkers | None] = {}  # by the key of who wants them
        self.count = 0
        self.runs = [1, 2]
        self.run_of: dict[str, int] = {}
        self.requests: dict[str, Request] = {}
        self.run.hear(messages.RunBegins(2, {}))

    def requested(self, number: int) -> str:
        return self.run.requested[number % len(self.run.requested)] if self.run.requested else "none-1"

    def connect(self, name: str, host: str) -> None:
        if name in self.alive or name in self.lost_with:
            self.run.hear(messages.PilotConnected(name, host))  # once more, which says nothing
            return
        self.alive.add(name)
        before = len(self.run.ended)
        self.run.hear(messages.PilotConnected(name, host))
        if name in self.run.ended[before:]:
            self.alive.discard(name)

    def checked(self) -> None:
        keys = [key for key, _ in self.run.running]
        assert len(keys) == len(set(keys)), "a job runs twice at the same time"
        for key, pilot in self.run.running:
            assert pilot in self.alive, "a job was started on a pilot that is not there"
            assert not any(key in jobs for jobs in self.lost_with.values()), "its first copy may still run"
        reported = Counter(key for key, _, _ in self.run.reports)
        assert all(count == 1 for count in reported.values())
        assert not set(keys) & set(reported)

    @rule(asked=st.lists(requests, min_size=1, max_size=6), of=st.integers(0, 1))
    def submit(self, asked: list[Asked], of: int) -> None:
        new = []
        for rule_name, amounts, runtime_s, pools, priority, workers in asked:
            self.count += 1
            number, run = self.count, self.runs[of]
            key = f"{rule_name}-{number}"
            request = Request(key, number, rule_name, 1, amounts, runtime_s, pools, priority, workers=workers, run=run)
            if self.run.core._work.fitting(request):  # others are refused before
                self.submitted.append(key)
                self.workers[key], self.run_of[key] = workers, run
                self.requests[key] = request
                new.append(request)
        self.run.submit(*new)
        self.checked()

    @rule(of=st.integers(0, 1))
    def a_run_ends_and_another_begins(self, of: int) -> None:
        ended, self.runs[of] = self.runs[of], max(self.runs) + 1
        reported = {key for key, _, _ in self.run.reports}
        self.submitted = [key for key in self.submitted if self.run_of[key] != ended or key in reported]
        self.run.hear(messages.RunEnds(ended), messages.RunBegins(self.runs[of], {}))
        self.checked()

    @rule(of=st.integers(0, 1), number=some, goes_on=st.booleans())
    def a_job_of_the_other_run_is_wanted(self, of: int, number: int, goes_on: bool) -> None:
        """As if that one's Snakemake had died: by the same job, or by one that writes what it does."""
        reported = {key for key, _, _ in self.run.reports}
        left = [key for key in self.submitted if self.run_of[key] == self.runs[1 - of] and key not in reported]
        if not left:
            return
        key = left[number % len(left)]
        request = replace(self.requests[key], run=self.runs[of])
        if not goes_on:
            self.count += 1
            self.submitted.remove(key)
            request = replace(request, key=f"{request.rule}-{self.count}")
            self.submitted.append(request.key)
            self.workers[request.key] = request.workers
        self.run_of[request.key], self.requests[request.key] = self.runs[of], request
        self.run.hear(messages.JobTakenOver(request) if goes_on else messages.JobReplaces(request, (key,)))
        self.checked()

    @rule(of=st.integers(0, 1))
    def jobs_are_withdrawn(self, of: int) -> None:
        run = self.runs[of]
        never_placed = set(self.run.core.waiting(run))
        before = len(self.run.reports)
        self.run.hear(messages.JobsWithdrawn(run))
        told = self.run.reports[before:]
        assert {key for key, end, _ in told if end is End.WITHDRAWN} == never_placed
        assert not self.run.core.waiting(run)
        self.checked()

    @rule(number=some)
    def pilot_is_submitted(self, number: int) -> None:
        name = self.requested(number)
        self.run.hear(messages.PilotSubmitted(name, f"{number % 7}"))
        self.checked()

    @rule(number=some, host=st.sampled_from(["n1", "n2", "n3"]))
    def pilot_connects(self, number: int, host: str) -> None:
        name = self.requested(number)
        self.connect(name, host)
        self.checked()

    @rule(number=some, words=st.sampled_from(["Socket timed out", "QOSMaxSubmitJobPerUserLimit", ""]))
    def pilot_fails(self, number: int, words: str) -> None:
        self.run.hear(messages.PilotStartFailed(self.requested(number), words))
        self.checked()

    @rule(number=some)
    def pilot_disconnects(self, number: int) -> None:
        self.disconnect(self.requested(number))
        self.checked()

    def disconnect(self, name: str) -> None:
        jobs = [key for key, pilot in self.run.running if pilot == name]
        if name in self.alive:
            self.alive.discard(name)
            self.lost_with[name] = set(jobs)
        self.run.running = [(key, pilot) for key, pilot in self.run.running if pilot != name]
        self.run.hear(messages.PilotDisconnected(name))
        for key in jobs:
            self.run.hear(messages.JobEnded(key, name, Outcome(End.LOST, detail="its pilot disconnected")))

    @rule(number=some, cause=st.sampled_from(Cause))
    def pilot_is_gone(self, number: int, cause: Cause) -> None:
        name = self.requested(number)
        self.lost_with.pop(name, None)
        self.run.hear(messages.PilotGone(name, Ended("X", cause)))
        self.checked()

    @rule(number=some, outcome=outcomes, wall_s=st.sampled_from([0.1, 0.1, 5.0, 500.0]))
    def job_ends(self, number: int, outcome: tuple[End, str], wall_s: float) -> None:
        if self.run.running:
            key, _ = self.run.running[number % len(self.run.running)]
            self.run.end(key, outcome[0], outcome[1], wall_s)
        self.checked()

    @rule(number=some)
    def an_end_is_told_that_is_none(self, number: int) -> None:
        key = self.submitted[number % len(self.submitted)] if self.submitted else "none"
        if key not in dict(self.run.running):
            self.run.hear(messages.JobEnded(key, "none-1", Outcome(End.SUCCEEDED)))
        self.checked()

    @rule(state=st.sampled_from(ListedState), words=st.sampled_from(["", "Priority"]), missing=st.booleans())
    def batch_system_answers(self, state: ListedState, words: str, missing: bool) -> None:
        for asked in self.run.asked:
            listed = {} if missing else {batch_id: Listed(state, words) for batch_id in asked.batch_ids}
            self.run.hear(messages.BatchAnswered(asked.system, listed))
        self.run.asked.clear()
        self.checked()

    @rule(seconds=st.sampled_from([0.0, 0.3, 5.0, 70.0, 700.0]))
    def time_goes_by(self, seconds: float) -> None:
        self.run.wait(seconds)
        self.checked()

    @rule(jobs=st.integers(0, 9), open_ended=st.booleans())
    def outlook(self, jobs: int, open_ended: bool) -> None:
        outlook = Outlook({"a": jobs}, {"a": frozenset("b")}, open_ended)
        self.run.hear(messages.OutlookLearned(outlook, self.runs[jobs % 2]))
        self.checked()

    def may_end(self, key: str) -> bool:
        """A rule with Dask workers ends once it has as many as it needs, and its workers end after it."""
        running = [one for one, _ in self.run.running]
        leader, is_worker, _ = key.partition(".worker-")
        if is_worker:
            return leader not in running
        wanted = self.workers[key]
        if any(isinstance(one, messages.EndJob) and one.key == key for one in self.run.others):
            return True
        own = sum(one.startswith(f"{key}.worker-") for one in running)
        return wanted is None or own >= wanted.least or key not in self.run.core._gangs._gangs

    def teardown(self) -> None:
        """Once nothing fails any more, each job is reported, unless the run was given up."""
        for _ in range(40 * (len(self.submitted) + LOSS_BUDGET)):
            if len(self.run.reports) == len(self.submitted) or self.run.errors:
                break
            for name in list(self.lost_with):
                del self.lost_with[name]
                self.run.hear(messages.PilotGone(name, Ended("", Cause.NO_FAULT)))
            for name in self.run.requested:
                if name not in self.alive:
                    self.connect(name, f"host-{name}")
            for key, _ in list(self.run.running):
                if self.may_end(key):
                    self.run.end(key)
            self.checked()
            self.run.wait(700.0)
            for pilot in list(self.run.core.pilots.all()):  # batch systems end what has had its time
                ends_at = math.inf if pilot.room is None else pilot.room.ends_at or math.inf
                if pilot.is_running and ends_at < self.run.now:
                    self.disconnect(pilot.name)
        if not self.run.errors:
            assert sorted(key for key, _, _ in self.run.reports) == sorted(self.submitted)
            over = {one.run for one in self.run.others if isinstance(one, messages.RunOver)}
            left = {key for key, _ in self.run.running}.union(*self.lost_with.values())
            unwanted = {self.run_of[key.partition(".worker-")[0]] for key in left}
            assert over == set(range(1, max(self.runs) + 1)) - set(self.runs) - unwanted


TestCore = CoreMachine.TestCase
TestCore.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
