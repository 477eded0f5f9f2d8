"""Outcome -> Snakemake's callbacks, from a thread of our own.

The callbacks take Snakemake's scheduler lock, which it holds while it waits for files: whoever listens to the
controller must not. All that it says comes through here, in its order.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import os
import queue
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from snakemake_interface_common.exceptions import WorkflowError

from ..model.outcome import End
from ..model.rendezvous import VARIABLE
from ..text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
    from snakemake_interface_executor_plugins.executors.real import RealExecutor

    from ..controller.protocol import Ended
    from ..model.outcome import Outcome
    from ..model.request import Launch
    from .controller import Controller
    from .direct import DirectStarts
    from .scheduler_internals import Rounds
    from .snakemake_internals import IncompleteMarks

JOIN_S = 5.0


@dataclass(slots=True)
class Submitted:
    """A job, as far as its end needs it. `is_sent` once the controller has it."""

    info: SubmittedJobInfo
    rule: str
    log_path: str
    is_direct: bool
    is_sent: bool = False


@dataclass(frozen=True, slots=True)
class _Unprepared:
    """A job that fails before it is submitted."""

    info: SubmittedJobInfo
    rule: str
    key: str
    why: str


@dataclass(frozen=True, slots=True)
class _Line:
    level: str
    text: str


@dataclass(frozen=True, slots=True)
class _GivenUp:
    text: str


_Item: TypeAlias = "list[Ended] | _Unprepared | _Line | _GivenUp"


class Reporting:
    """Tells Snakemake what the controller says (a `controller.Hears`).

    `submitted` has the jobs that Snakemake has not heard of yet, by their keys. Without `keep_logs`, those of jobs that
    Snakemake takes for successful are removed.
    """

    def __init__(self, executor: RealExecutor, *, keep_logs: bool) -> None:
        self.submitted: dict[str, Submitted] = {}
        self._executor = executor
        self._keep_logs = keep_logs
        self._logs: dict[Any, str] = {}  # of jobs that have succeeded as far as we know
        self._with_workers: set[str] = set()  # logs of jobs whose Dask workers have some, too
        self.is_ending = False  # for a job that has failed; no other is to begin
        self.untouched: set[str] = set()  # the keys of jobs that were withdrawn
        self._has_withdrawn = False
        self._logger = executor.logger
        self._controller: Controller | None = None
        self._direct: DirectStarts | None = None
        self._rounds: Rounds | None = None
        self._marks: IncompleteMarks | None = None
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._report, name="daskjq-report", daemon=True)

    def start(
        self, controller: Controller, direct: DirectStarts | None, rounds: Rounds, marks: IncompleteMarks
    ) -> None:
        self._controller = controller
        self._direct = direct
        self._rounds = rounds
        rounds.failed = self.failed
        self._marks = marks
        self._thread.start()

    def close(self) -> None:
        """Report what has come; a callback that hangs is left behind."""
        self._queue.put(None)
        if threading.current_thread() is not self._thread and self._thread.ident is not None:
            self._thread.join(timeout=JOIN_S)

    def add(self, info: SubmittedJobInfo, rule: str, launch: Launch) -> None:
        """A job is about to be submitted."""
        if VARIABLE in launch.env:
            self._with_workers.add(launch.log_path)
        self.submitted[launch.key] = Submitted(info, rule, launch.log_path, launch.command is not None)

    def sent(self, key: str) -> None:
        """The controller has it."""
        if (job := self.submitted.get(key)) is not None:
            job.is_sent = True

    def unprepared(self, info: SubmittedJobInfo, rule: str, key: str, why: str) -> None:
        """A job fails before it is submitted."""
        self._queue.put(_Unprepared(info, rule, key, why))

    def accepted(self, job: Any) -> None:
        """Snakemake has found all outputs of a successful job: nobody will look for its log."""
        if (log_path := self._logs.pop(job, "")) and not self._keep_logs:
            of_workers = glob.iglob(f"{glob.escape(log_path)}.dask.*") if log_path in self._with_workers else ()
            for path in (log_path, *of_workers):
                with contextlib.suppress(OSError):
                    os.unlink(path)

    def failed(self, job: Any) -> None:
        """A try of a job has failed. Where that ends the run, jobs that have not begun are withdrawn."""
        if self._rounds is not None and not self.is_ending and self._rounds.ends_for(job):
            self.is_ending = True
            if self._controller is not None:
                self._controller.withdraw()

    def withdrawn(self, jobs: Sequence[Any]) -> None:
        """Jobs are not to begin any more."""
        assert self._rounds is not None
        if not self._has_withdrawn:
            self._has_withdrawn = True
            self.tell("jobs that have not begun are withdrawn, for one has failed (with --keep-going they would run).")
        self._rounds.withdraw(jobs)

    def interrupted(self, job: Submitted, *, begun: bool) -> None:
        """A job comes to no end: take back what was made for it, or what it has begun to write."""
        if job.is_direct and self._direct is not None:
            self._direct.interrupted(job.info.job, begun=begun)
        elif not begun and self._marks is not None:
            self._marks.take_back(job.info.job)

    def left(self) -> Iterator[tuple[str, Submitted]]:
        """Take out, one by one, the jobs that Snakemake has not heard of; the thread may be at work still."""
        with contextlib.suppress(KeyError):
            while True:
                yield self.submitted.popitem()

    # -- what the controller says ----------------------------------------------------------------------------------

    def jobs_ended(self, ends: list[Ended]) -> None:
        self.untouched.update(ended.key for ended in ends if ended.outcome.end is End.WITHDRAWN)
        self._queue.put(ends)

    def hear(self, level: str, text: str) -> None:
        self._queue.put(_Line(level, text))

    def give_up(self, text: str) -> None:
        self._queue.put(_GivenUp(text))

    # -- lines for the user ----------------------------------------------------------------------------------------

    def tell(self, text: str) -> None:
        self._logger.info(f"daskjq: {printable(text)}", extra=self._progress)

    def warn(self, text: str) -> None:
        self._logger.warning(f"daskjq: {printable(text)}")

    @functools.cached_property
    def _progress(self) -> dict[str, Any]:
        """Marks a log record as progress, so that `--quiet progress` leaves it out."""
        from snakemake.settings.enums import Quietness

        return {"quietness": Quietness.PROGRESS}

    # -- the thread ------------------------------------------------------------------------------------------------

    def _report(self) -> None:
        assert self._controller is not None
        assert self._rounds is not None
        while (item := self._queue.get()) is not None:
            try:
                self._handle(item, self._controller, self._rounds)
            except Exception as error:  # Snakemake must hear of it, or it waits for ever
                self._executor.workflow.scheduler.executor_error_callback(error)
            if self._queue.empty():
                self._controller.flush()

    def _handle(self, item: _Item, controller: Controller, rounds: Rounds) -> None:
        match item:
            case list():
                for ended in item:
                    if ended.outcome.end is End.WITHDRAWN:
                        continue
                    controller.reported(ended.key, success=ended.outcome.end is End.SUCCEEDED)
                    try:
                        self._report_end(ended)
                    except Exception as defect:  # the others of the list have ended, too
                        self._executor.workflow.scheduler.executor_error_callback(defect)
                if untouched := [ended.key for ended in item if ended.outcome.end is End.WITHDRAWN]:
                    self._withdraw(untouched)
                rounds.merge()
            case _Unprepared(info, rule, key, why):
                controller.reported(key, success=False)
                self._report_error(info, rule, printable(why))
            case _Line("tell", text):
                self.tell(text)
            case _Line(_, text):
                self.warn(text)
            case _GivenUp(text):
                error = WorkflowError(f"daskjq: {printable(text)}")
                self._executor.workflow.scheduler.executor_error_callback(error)

    def _report_end(self, ended: Ended) -> None:
        job, outcome = self.submitted.pop(ended.key, None), ended.outcome
        if job is None:  # the run ends, and has taken it out
            return
        if outcome.warning:
            self.warn(f"a job of rule {job.rule} {outcome.warning}; log: {job.log_path}")
        succeeded, unwritten = outcome.end is End.SUCCEEDED, ""
        if self._direct is not None:
            if succeeded and outcome.benchmark:
                try:
                    self._direct.write_benchmark(job.info.job, ended.key, outcome.benchmark)
                except Exception as error:  # of any kind: params have whatever the user puts in
                    unwritten = f"its benchmark can't be written: {error}"
            self._direct.ended(ended.key)
        if unwritten:
            self._report_error(job.info, job.rule, printable(unwritten))
        elif succeeded:
            if not outcome.warning:
                self._logs[job.info.job] = job.log_path
            self._executor.report_job_success(job.info)
        else:
            self._report_failure(job, outcome, ended.pilot)

    def _withdraw(self, keys: Iterable[str]) -> None:
        """Take back what was made for jobs that do not begin."""
        jobs = []
        for key in keys:
            if (job := self.submitted.pop(key, None)) is None:
                continue
            if self._direct is not None:
                self._direct.ended(key)
            self.interrupted(job, begun=False)
            jobs.append(job.info.job)
        self.withdrawn(jobs)

    def _report_failure(self, job: Submitted, outcome: Outcome, pilot: str) -> None:
        message = f"{outcome.reason()} on pilot {pilot}; log: {job.log_path}"
        if outcome.log_tail:
            message += "\n    last lines of the log:\n" + "\n".join(
                f"        {line}" for line in outcome.log_tail.splitlines()
            )
        self._report_error(job.info, job.rule, printable(message), aux_logs=[job.log_path])

    def _report_error(self, info: SubmittedJobInfo, rule: str, message: str, **more: Any) -> None:
        if info.job.is_group():
            self._logger.error(f"daskjq: group {rule}: {message}")  # Snakemake shows no message there
        self.failed(info.job)
        self._executor.report_job_error(info, msg=message, **more)
