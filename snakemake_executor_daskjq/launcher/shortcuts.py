"""Ways around work that Snakemake does in each job, and that a job in a fork server does not need.

Each was found by measuring, and gives the same results. They are taken before the rehearsal, which makes them fast
too, and left out where this Snakemake or this Python is not as they expect: jobs are slower there, and no worse.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import signal
import types
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from . import python_internals

if TYPE_CHECKING:
    from collections.abc import Callable


def take() -> None:
    """Take all that hold for the whole process."""
    python_internals.have_asyncio_set_signals_directly()
    for shortcut in (_remember_parameters, _format_command_once, _run_only_jobs_directly):
        with contextlib.suppress(ImportError, AttributeError):  # other versions
            shortcut()


def _remember_parameters() -> None:
    """Spare Snakemake looking at the same functions again: it asks for the parameters of each a few times in a job.

    They are known by the code of functions that have nothing else that could tell of parameters.
    """
    import snakemake.common
    import snakemake.rules

    find = snakemake.common.get_function_params
    known: dict[tuple[bool, types.CodeType], Any] = {}

    def get_function_params(function: Any) -> Any:
        bound = type(function) is types.MethodType
        plain = function.__func__ if bound else function
        if type(plain) is not types.FunctionType:
            return find(function)
        if not bound and plain.__dict__.keys() == {"__wrapped__"}:  # it has those of what it wraps
            return get_function_params(plain.__wrapped__)  # type: ignore[attr-defined]
        if plain.__dict__ or plain.__defaults__ or plain.__kwdefaults__:
            return find(function)
        key = bound, plain.__code__
        if key not in known:
            known[key] = find(function)
        return known[key]

    for module in (snakemake.common, snakemake.rules):
        if module.get_function_params is find:
            module.get_function_params = get_function_params


def _format_command_once() -> None:
    """Format a job's shell command once for the message that shows it, instead of three times."""
    from snakemake.jobs import Job

    log_info, shellcmd = Job.log_info, Job.shellcmd
    shown: dict[int, list[Any]] = {}  # by the identity of jobs that are being shown: their commands, once known

    def once(job: Any) -> Any:
        known = shown.get(id(job))
        if known is None:
            return shellcmd.fget(job)
        if not known:
            known.append(shellcmd.fget(job))
        return known[0]

    def log_info_once(job: Any, *arguments: Any, **options: Any) -> Any:
        shown[id(job)] = []
        try:
            return log_info(job, *arguments, **options)
        finally:
            shown.pop(id(job), None)

    Job.shellcmd, Job.log_info = property(once), log_info_once


def _run_only_jobs_directly() -> None:
    """Have a shell command that is its process' only job run in the thread that waits for it.

    Snakemake starts a thread for it, with an event loop, and one more that limits the rate of jobs. A job in Python
    keeps its thread: it may look.
    """
    from snakemake.executors.local import Executor
    from snakemake_interface_executor_plugins.settings import ExecMode

    for name in ("snakemake.scheduling.job_scheduler", "snakemake.scheduler"):  # the second before 9.10
        with contextlib.suppress(ImportError):
            scheduler_class = importlib.import_module(name).JobScheduler
            break
    else:
        return
    prepare = scheduler_class.__init__

    def __init__(scheduler: Any, *arguments: Any, **options: Any) -> None:
        prepare(scheduler, *arguments, **options)
        with contextlib.suppress(AttributeError):  # other versions
            jobs = list(scheduler.workflow.dag.needrun_jobs())
            remote = scheduler.workflow.exec_mode == ExecMode.REMOTE and type(scheduler._executor) is Executor
            if remote and len(jobs) == 1 and not jobs[0].is_group():
                scheduler.job_rate_limiter = None
                if jobs[0].is_shell:
                    only_job = _OnlyJob(scheduler._open_jobs)
                    scheduler._executor.pool, scheduler._open_jobs = only_job, only_job

    scheduler_class.__init__ = __init__


class _OnlyJob:
    """The pool of threads that a scheduler's job is submitted to, and the semaphore that the scheduler waits at."""

    def __init__(self, open_jobs: Any) -> None:
        self._open_jobs = open_jobs
        self._submitted: deque[tuple[Future[Any], Callable[[], Any]]] = deque()

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._submitted.append((future, lambda: function(*arguments)))
        return future

    def shutdown(self) -> None:
        """Nothing runs when this is called."""

    def release(self) -> None:
        self._open_jobs.release()

    def acquire(self) -> None:
        while self._submitted:
            self._run(*self._submitted.popleft())
        self._open_jobs.acquire()

    def _run(self, future: Future[Any], job: Callable[[], Any]) -> None:
        """Raises KeyboardInterrupt after the job when there was one: the job of a thread is not interrupted either."""
        interrupts: list[int] = []
        before = signal.signal(signal.SIGINT, lambda signum, _: interrupts.append(signum))
        try:
            result = job()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)
        finally:
            signal.signal(signal.SIGINT, before)
        if interrupts:
            raise KeyboardInterrupt


def share_loops(workflow: Any) -> None:
    """Have the sizes of input files asked for in the event loop that a thread has, not in one of their own.

    Snakemake means to, but passes its `async_run` where it is not looked for.
    """
    try:
        import snakemake.iocontainers
        from snakemake.common import async_run as run_anew

        run_in_own = workflow.async_run
    except (ImportError, AttributeError):
        return  # older versions

    def async_run(coroutine: Any) -> Any:
        # In a loop that runs, Snakemake's own finds fault, as its callers expect.
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return run_in_own(coroutine)
        return run_anew(coroutine)

    snakemake.iocontainers.async_run = async_run
