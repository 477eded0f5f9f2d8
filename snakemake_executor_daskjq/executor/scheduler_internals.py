"""Snakemake's scheduling rounds, which are made for batch systems: what the executor knows of its `JobScheduler`.

Written for 9.10 to 9.27. In a round Snakemake takes note of jobs that have ended and selects ready ones. There is one
for each job that ends; its default rate keeps thousands of jobs ready, which each of them looks at again; and its
schedulers take a time that grows with the square of that number, or solve an integer program. Pilots need none of it.
Where Snakemake is not as expected, its rounds stay as they are: the run is slower, its results are the same.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

DEFAULT_RATE = 100, 1
"""Jobs and seconds: Snakemake's `--max-jobs-per-timespan` where the user gives none. The same given can't be told."""


class Rounds:
    """Makes the rounds of one run's scheduler cheap.

    `limit` is what the user wants of us in the place of Snakemake's rate, as Snakemake writes it (100/1s). `tell` is
    called once where a rate is lifted that would have held jobs back.
    """

    def __init__(self, workflow: Any, limit: str | None, tell: Callable[[str], None]) -> None:
        self._workflow = workflow
        self._limit = limit
        self._tell = tell
        self._open_jobs: threading.Semaphore | None = None
        self._scheduler: Any = None  # once its jobs can be withdrawn
        self.failed: Callable[[Any], None] = lambda _: None
        """Called where a try of a job fails, under whichever executor, and also where Snakemake finds that itself."""
        try:
            self._step_in()
        except (ImportError, AttributeError) as error:
            self._leave(error)

    def merge(self) -> None:
        """Have one round for all ends that Snakemake was told of and has not looked at."""
        if self._open_jobs is not None:
            while self._open_jobs.acquire(blocking=False):
                pass
            self._open_jobs.release()  # one that begins after the last of them

    def ends_for(self, job: Any) -> bool:
        """Whether Snakemake ends the run for a try of a job that has failed, and jobs can be withdrawn for that.

        It goes on until no job runs, and counts all that were handed over: without its default rate, these are all.
        """
        if self._scheduler is None or self._workflow.execution_settings.keep_going:
            return False
        return bool(job.attempt > job.restart_times)

    def withdraw(self, jobs: Iterable[Any]) -> None:
        """Have Snakemake not wait for jobs any more, of whose ends it is not told."""
        with self._scheduler._lock:
            self._scheduler.running.difference_update(jobs)
            self._scheduler._open_jobs.release()

    def _step_in(self) -> None:
        """Act at the first selection of jobs: only then the scheduler is complete, and it was never at work before."""
        from snakemake.jobs import Job
        from snakemake.scheduling.job_scheduler import JobScheduler

        Job.is_pipe_or_service_input = looking_once(Job.is_pipe_or_service_input)
        select = JobScheduler.job_selector

        def first(scheduler: Any, jobs: Collection[Any]) -> Any:
            if scheduler.workflow is not self._workflow:
                return select(scheduler, jobs)
            JobScheduler.job_selector = select
            try:
                self._change(scheduler, len(jobs))
            except (ImportError, AttributeError, TypeError, KeyError) as error:
                self._open_jobs = self._scheduler = None
                self._leave(error)
            return scheduler.job_selector(jobs)

        JobScheduler.job_selector = first

    def _telling(self, handle: Callable[..., None]) -> Callable[..., None]:
        """`failed` hears of it first."""

        def handle_error(job: Any, *arguments: Any, **options: Any) -> None:
            self.failed(job)
            handle(job, *arguments, **options)

        return handle_error

    def _leave(self, error: Exception) -> None:
        """Snakemake is not as expected."""
        if self._limit is not None:
            self._tell(f"--daskjq-max-jobs-per-timespan has no effect with this Snakemake ({error})")

    def _change(self, scheduler: Any, ready: int) -> None:
        limiter, resources = scheduler.job_rate_limiter, scheduler.resources
        scheduler.job_selector = _all_or(scheduler.job_selector, scheduler)
        if isinstance(scheduler._open_jobs, threading.Semaphore):
            self._open_jobs = scheduler._open_jobs
            if isinstance(scheduler.running, set):
                self._scheduler = scheduler
                scheduler._handle_error = self._telling(scheduler._handle_error)
        if self._limit is not None:
            from snakemake.scheduling.job_scheduler import JobRateLimiter
            from snakemake.settings.types import MaxJobsPerTimespan

            # Not by its `parse_choice`, which takes milliseconds for minutes.
            count, _, timespan = self._limit.partition("/")
            scheduler.job_rate_limiter = JobRateLimiter(MaxJobsPerTimespan(int(count), timespan))
        elif scheduler.workflow.dag.has_unfinished_queue_input_jobs():
            pass  # what is in a queue (from_queue) is looked at when a limit's time is over
        elif limiter is not None and (limiter.max_jobs, limiter.timespan) == DEFAULT_RATE:
            scheduler.job_rate_limiter = None
            resources["_job_count"] = sys.maxsize
            if ready > limiter.max_jobs:
                self._tell(
                    "Snakemake's default of 100 jobs a second is lifted: pilots need no such limit "
                    "(--daskjq-max-jobs-per-timespan sets one)."
                )


def _all_or(select: Callable[..., Any], scheduler: Any) -> Callable[..., Any]:
    """A selector that takes all jobs where they fit together, as `select` would after a while.

    Nobody has to know then how large their inputs are, and which jobs are still to come.
    """
    validate, lock, take = scheduler.validate_job, scheduler._lock, scheduler.update_available_resources

    def selected(jobs: Collection[Any]) -> Any:
        for job in jobs:  # tells of resources that are no numbers
            validate(job)
        wanted = [job.scheduler_resources for job in jobs]
        if scheduler.job_rate_limiter is not None or not fit_together(wanted, scheduler.resources):
            return select(jobs)
        with lock:
            take(jobs)
        return list(jobs)

    return selected


def looking_once(look: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    """Has a job look at the jobs that it depends on once, and not once for each of its inputs.

    Snakemake asks which inputs are pipes when it prepares a job: `rule all` may have 100,000, of as many jobs.
    """
    if getattr(look, "looks_once", False):  # another run of this process had its turn
        return look
    last: tuple[Any, int, set[Any]] = None, 0, set()

    def is_pipe_or_service_input(job: Any, path: Any) -> bool:
        nonlocal last
        depends = job.dag.dependencies[job]
        known, count, pipes = last
        if known is not job or count != len(depends):
            pipes = {file for one, files in depends.items() for file in one.pipe_or_service_output if file in files}
            last = job, len(depends), pipes
        return path in pipes

    is_pipe_or_service_input.looks_once = True  # type: ignore[attr-defined]
    return is_pipe_or_service_input


def fit_together(wanted: Sequence[Mapping[str, Any]], available: Mapping[str, Any]) -> bool:
    """Whether what is available is enough for all; without a limit, it is `sys.maxsize`.

    >>> fit_together([{"_cores": 1, "licenses": 1}, {"_cores": 1}], {"_cores": 2, "licenses": 1})
    True
    >>> fit_together([{"_cores": 1, "licenses": 1}] * 2, {"_cores": sys.maxsize, "licenses": 1})
    False
    """
    limits = {name: limit for name, limit in available.items() if limit != sys.maxsize}
    return all(sum(amounts.get(name, 0) for amounts in wanted) <= limit for name, limit in limits.items())
