"""What is changed of Snakemake's rounds, on its own classes where they can be had without a workflow."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snakemake.exceptions import WorkflowError
from snakemake.jobs import Job
from snakemake.scheduling.job_scheduler import JobRateLimiter, JobScheduler
from snakemake.settings.types import MaxJobsPerTimespan

from snakemake_executor_daskjq.executor.scheduler_internals import Rounds, looking_once

QUEUE = SimpleNamespace(has_unfinished_queue_input_jobs=lambda: False)
WORKFLOW = SimpleNamespace(execution_settings=SimpleNamespace(keep_going=False), dag=QUEUE)
SNAKEMAKES = Job.is_pipe_or_service_input
NEVER: Callable[..., Any] = lambda *_: pytest.fail("asked for what needs no choice")  # noqa: E731


@pytest.fixture(autouse=True)
def selector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Snakemake's way to its selector, without the sizes of files; it is as it was after the first selection."""

    def job_selector(scheduler: Any, jobs: Any) -> Any:
        chosen = scheduler.select(jobs)
        scheduler.update_available_resources(chosen)
        return chosen

    monkeypatch.setattr(Job, "is_pipe_or_service_input", SNAKEMAKES)
    monkeypatch.setattr(JobScheduler, "job_selector", job_selector)
    yield job_selector
    assert JobScheduler.job_selector is job_selector


def scheduler(rate: str | None, select: Callable[..., Any] = NEVER, **resources: int) -> Any:
    limiter = rate and JobRateLimiter(MaxJobsPerTimespan.parse_choice(rate))
    one = SimpleNamespace(
        workflow=WORKFLOW,
        job_rate_limiter=limiter,
        resources={"_cores": sys.maxsize, "_job_count": 100 if rate else sys.maxsize, **resources},
        select=select,
        valid=[],
        running=set(),
        handled=[],
        _open_jobs=threading.Semaphore(0),
        _lock=threading.Lock(),
    )

    def take(jobs: Any) -> None:
        for name in resources:
            one.resources[name] -= sum(job.scheduler_resources[name] for job in jobs)

    one._handle_error = one.handled.append
    one.validate_job, one.update_available_resources = one.valid.append, take
    one.job_selector = lambda jobs: JobScheduler.job_selector(one, jobs)
    return one


def jobs(count: int) -> list[Any]:
    return [SimpleNamespace(scheduler_resources={"_cores": 1, "_job_count": 1, "licenses": 1}) for _ in range(count)]


def selected(scheduler: Any, count: int, limit: str | None = None) -> tuple[int, list[str], Rounds]:
    told: list[str] = []
    rounds = Rounds(WORKFLOW, limit, told.append)
    return len(JobScheduler.job_selector(scheduler, jobs(count))), told, rounds


def test_the_default_rate_is_lifted_and_told_where_it_held_jobs_back() -> None:
    default = scheduler("100/1s")
    count, told, _ = selected(default, 5000)
    assert (count, default.job_rate_limiter) == (5000, None)
    assert len(told) == 1
    assert "--daskjq-max-jobs-per-timespan" in told[0]
    assert selected(scheduler("100/1s"), 100)[:2] == (100, [])


def test_a_rate_that_the_user_gives_stays() -> None:
    theirs = scheduler("50/1m", lambda jobs: jobs)
    limiter = theirs.job_rate_limiter
    assert selected(theirs, 20)[:2] == (20, [])
    assert theirs.job_rate_limiter is limiter


def test_our_option_goes_before_both() -> None:
    one = scheduler("100/1s", lambda jobs: jobs)
    selected(one, 20, "300/1m")
    assert (one.job_rate_limiter.max_jobs, one.job_rate_limiter.timespan) == (300, 60)


def test_milliseconds_are_no_minutes() -> None:
    one = scheduler(None, lambda jobs: jobs)
    selected(one, 20, "100/500ms")
    assert one.job_rate_limiter.timespan == 0.5


def test_the_rate_stays_where_a_queue_is_looked_at_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QUEUE, "has_unfinished_queue_input_jobs", lambda: True)
    one = scheduler("100/1s", lambda jobs: jobs)
    selected(one, 20)
    assert one.job_rate_limiter is not None


def test_a_resource_that_is_no_number_is_told_by_snakemake() -> None:
    def refuse(job: Any) -> None:
        raise WorkflowError(f"not an integer: {job.scheduler_resources}")

    one = scheduler(None, licenses=2)
    one.validate_job = refuse
    with pytest.raises(WorkflowError, match="not an integer"):
        selected(one, 2)


def test_failures_are_heard_of_under_whichever_executor() -> None:
    one = scheduler(None)
    rounds = selected(one, 1)[2]
    heard: list[Any] = []
    rounds.failed = heard.append
    one._handle_error("a job")
    assert heard == one.handled == ["a job"]


def test_what_does_not_fit_together_is_chosen_by_snakemakes_own_scheduler() -> None:
    assert selected(scheduler(None, lambda jobs: jobs[:3], licenses=3), 4)[0] == 3
    all_fit = scheduler(None, NEVER, licenses=4)
    assert selected(all_fit, 4)[0] == 4
    assert all_fit.resources["licenses"] == 0
    assert len(all_fit.valid) == 4


def test_another_workflows_scheduler_is_left_alone(selector: Any) -> None:
    other = scheduler("100/1s", lambda jobs: jobs)
    other.workflow = object()
    Rounds(WORKFLOW, None, NEVER)
    assert len(JobScheduler.job_selector(other, jobs(500))) == 500
    assert other.job_rate_limiter is not None
    JobScheduler.job_selector(scheduler(None), jobs(1))  # ours, at last


def test_a_snakemake_of_another_kind_goes_its_own_way() -> None:
    other = scheduler("100/1s", lambda jobs: jobs)
    del other.job_rate_limiter
    count, told, rounds = selected(other, 500, "9/1s")
    assert count == 500
    assert "--daskjq-max-jobs-per-timespan has no effect" in told[0]
    rounds.merge()
    assert not other._open_jobs.acquire(blocking=False)


def test_one_round_serves_all_ends_that_were_told() -> None:
    one = scheduler(None)
    rounds = selected(one, 1)[2]
    for _ in range(5):
        one._open_jobs.release()
    rounds.merge()
    assert one._open_jobs.acquire(blocking=False)
    assert not one._open_jobs.acquire(blocking=False)
    rounds.merge()  # a round began before the last end was told: there has to be another
    assert one._open_jobs.acquire(blocking=False)


class Thing(SimpleNamespace):
    __hash__ = object.__hash__
    __eq__ = object.__eq__


files = st.sampled_from([f"file{i}" for i in range(6)])


@given(st.lists(st.tuples(st.sets(files), st.sets(files)), max_size=5))
def test_pipes_are_found_as_snakemake_finds_them(depends: list[tuple[set[str], set[str]]]) -> None:
    """Each file is made by one job."""
    made: set[str] = set()
    dependencies = {}
    for outputs, pipes in depends:
        dependencies[Thing(pipe_or_service_output=(outputs & pipes) - made)] = outputs - made
        made |= outputs
    job = Thing(dag=SimpleNamespace())
    job.dag.dependencies = {job: dependencies}
    ours = looking_once(SNAKEMAKES)
    assert ours is not SNAKEMAKES
    assert looking_once(ours) is ours
    for name in sorted(made | {"another"}):
        assert ours(job, name) == SNAKEMAKES(job, name), name


def test_a_run_ends_for_the_last_try_of_a_job_unless_it_keeps_going(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = selected(scheduler(None), 1)[2]
    last, first = SimpleNamespace(attempt=3, restart_times=2), SimpleNamespace(attempt=2, restart_times=2)
    assert rounds.ends_for(last)
    assert not rounds.ends_for(first)
    monkeypatch.setattr(WORKFLOW.execution_settings, "keep_going", True)
    assert not rounds.ends_for(last)


def test_snakemake_waits_for_no_withdrawn_job() -> None:
    one = scheduler(None)
    rounds = selected(one, 1)[2]
    one.running = {"a", "b"}
    rounds.withdraw(["a"])
    assert one.running == {"b"}
    assert one._open_jobs.acquire(blocking=False)
