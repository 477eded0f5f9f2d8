"""Shortcuts are taken with the Snakemake that CI has, and give what Snakemake gives."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
from concurrent.futures import Future
from inspect import signature
from threading import Semaphore
from typing import TYPE_CHECKING, Any

import pytest
import snakemake.common
import snakemake.rules

from snakemake_executor_daskjq.launcher import shortcuts

if TYPE_CHECKING:
    from collections.abc import Callable

TAKEN = """
import asyncio.runners, signal
from snakemake_executor_daskjq.launcher import shortcuts
shortcuts.take()
import snakemake.common, snakemake.jobs, snakemake.rules, snakemake.scheduling.job_scheduler as scheduler
ours = shortcuts.__name__
signal.signal(signal.SIGINT, signal.default_int_handler)  # tests that run in the background have it ignored
assert asyncio.runners.signal is not signal and asyncio.runners.signal.getsignal(2) is signal.default_int_handler
assert snakemake.rules.get_function_params.__module__ == ours
assert snakemake.common.get_function_params.__module__ == ours
assert snakemake.jobs.Job.log_info.__module__ == ours
assert scheduler.JobScheduler.__init__.__module__ == ours
print("taken")
"""


def test_all_are_taken() -> None:
    done = subprocess.run([sys.executable, "-c", TAKEN], capture_output=True, text=True, timeout=60)
    assert done.stdout == "taken\n", done.stderr


class Object:
    def method(self, wildcards: object, *, threads: object) -> None: ...

    def __call__(self, wildcards: object, attempt: object) -> None: ...


def with_default(wildcards: object, threads: int = 1, **others: object) -> None: ...


def plain(wildcards: object, input: object) -> None: ...


@functools.wraps(plain)
def wrapping(*arguments: object) -> None: ...


@functools.wraps(Object().method)
def wrapping_a_method(*arguments: object) -> None: ...


def marked(wildcards: object) -> None: ...


marked.mark = True  # type: ignore[attr-defined]
signed: Any = functools.partial(plain, None)
signed_function: Any = lambda *_: None  # noqa: E731
signed_function.__signature__ = signature(plain)
overwritten: Any = lambda *_: None  # noqa: E731
snakemake.common.overwrite_function_params(overwritten, ["attempt"])


def same_code(default: int) -> Callable[..., object]:
    return lambda wildcards, attempt=default: (wildcards, attempt)


FUNCTIONS: list[Callable[..., object]] = [
    *(plain, with_default, wrapping, wrapping_a_method, marked, signed, signed_function, overwritten),
    *(Object().method, Object.method, Object(), same_code(1), same_code(2), lambda wildcards: wildcards, max),
]


def test_remembered_parameters_are_those_of_the_function(monkeypatch: pytest.MonkeyPatch) -> None:
    find = snakemake.common.get_function_params
    for module in (snakemake.common, snakemake.rules):
        monkeypatch.setattr(module, "get_function_params", find)
    shortcuts._remember_parameters()
    remembering = snakemake.rules.get_function_params
    assert remembering is not find

    def parameters(get: Callable[[Any], Any], function: Any) -> Any:
        try:
            found = get(function)
        except (TypeError, ValueError) as error:
            return str(error)
        return found if isinstance(found, list) else list(found.values())

    for _ in range(2):  # known the second time
        for function in FUNCTIONS:
            assert parameters(remembering, function) == parameters(find, function), function


def only_job() -> tuple[shortcuts._OnlyJob, Semaphore]:
    semaphore = Semaphore(0)
    return shortcuts._OnlyJob(semaphore), semaphore


def test_the_only_job_runs_when_it_is_awaited() -> None:
    alone, _ = only_job()
    ran: list[str] = []
    future = alone.submit(lambda *arguments: (ran.extend(arguments), alone.release()), "a", "b")
    assert ran == []
    assert not future.done()
    alone.acquire()
    assert ran == ["a", "b"]
    assert future.done()


def test_what_the_only_job_raises_is_its_futures() -> None:
    alone, semaphore = only_job()
    future = alone.submit(int, "x")
    future.add_done_callback(lambda _: semaphore.release())
    alone.acquire()
    assert isinstance(future.exception(), ValueError)


def test_an_interrupt_comes_after_the_only_job_and_handlers_are_put_back() -> None:
    alone, _ = only_job()
    done: list[str] = []

    def interrupted() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        done.append("to the end")

    future: Future[Any] = alone.submit(interrupted)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        alone.acquire()
    assert done == ["to the end"]
    assert future.exception() is None
    assert signal.getsignal(signal.SIGINT) is before
