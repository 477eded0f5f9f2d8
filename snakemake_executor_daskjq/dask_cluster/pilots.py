"""Pilots as dask-jobqueue jobs, and as a process of this machine.

A pilot is one Dask worker without a nanny (`pilot.process`): its death is its batch job's end, never a silent
restart.
Submission happens in a task of its own, so one slow submit command holds up neither the others nor the
end of the run.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import logging
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import dask.config
from distributed.core import Status
from distributed.deploy.spec import ProcessInterface

from .. import batch
from ..batch import commands
from .spare import PILOT_MODULE

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from ..batch.base import BatchSystem
    from ..model.pool import Pool
    from .security import RunSecurity
    from .spare import Spare

DEATH_TIMEOUT_S = 60
"""A pilot that can't reach its scheduler for this long at its start ends."""

ABANDON_S = 5.0
"""A submit command that is under way when its pilot is to end is killed after this time."""

CANCEL_AGAIN_S = (1.0, 3.0)
"""A cancel command that fails is tried again after these times."""

LEAVE_S, LOOK_S = 8.0, 0.5
"""So long a pilot that was told to end may take, and how often the system is asked whether it has."""

_GONE = re.compile(r"invalid job|unknown job|not found|no such|finished|does not exist|couldn't find", re.IGNORECASE)
"""How cancel commands tell that there is nothing left to cancel."""

logger = logging.getLogger("dask_jobqueue.daskjq")  # goes to the run's `dask.log`

LOCAL_GRACE_S = 15.0
"""A pilot that was told to end is killed after this time; it takes that long only if something hangs."""


class PilotListener(Protocol):
    """Who wants to know what becomes of a pilot's submission."""

    def pilot_submitted(self, pilot: str, batch_id: str) -> None: ...

    def pilot_start_failed(self, pilot: str, words: str) -> None: ...


@dataclass(frozen=True, slots=True)
class PilotSetup:
    """What all pilots of a run have in common."""

    security: RunSecurity
    log_folder: Path
    interface: str | None
    listener: PilotListener
    lease_s: float = 60.0
    excluded: tuple[str, ...] = ()  # hosts that are to get no pilots, where the system can be told
    spare: Spare | None = None  # the process that one of this machine's pilots becomes


def specification(pool: Pool, setup: PilotSetup) -> dict[str, Any]:
    """The SpecCluster entry of one pilot of `pool`: a class and its options."""
    if batch.system(pool.system).is_this_machine:
        return {"cls": LocalPilot, "options": {"arguments": worker_arguments(pool, setup), "setup": setup}}
    return {"cls": batch_pilot_class(pool.system), "options": {"setup": setup, **job_options(pool, setup)}}


def worker_arguments(pool: Pool, setup: PilotSetup) -> list[str]:
    """Options of `pilot.process` beyond those that dask-jobqueue gives; later ones win.

    Dask's memory limit is off: it would see the worker's own memory only, never a rule's. Threads are not
    used by jobs (they are coroutines); their number bounds how many tasks run at a time.
    """
    amounts = pool.amounts
    arguments = [
        *("--nthreads", str(amounts["cores"])),
        *("--memory-limit", "0"),
        *("--resources", ",".join(f"{name}={amount}" for name, amount in amounts.items())),
        *("--lease", str(setup.lease_s)),
        *setup.security.worker_arguments(),
    ]
    if pool.scratch_folder:
        arguments += ["--local-directory", str(pool.scratch_folder)]
    return arguments


def job_options(pool: Pool, setup: PilotSetup) -> dict[str, Any]:
    """The options of a dask-jobqueue job class for one pilot."""
    options: dict[str, Any] = {
        "cores": pool.cores,
        "memory": f"{pool.mem_mb}MB",
        "processes": 1,
        "worker_command": PILOT_MODULE,
        "interface": setup.interface,
        "protocol": "tls://",
        "death_timeout": DEATH_TIMEOUT_S,
        "python": shlex.quote(sys.executable),
        "worker_extra_args": [shlex.quote(argument) for argument in worker_arguments(pool, setup)],
        "log_directory": _relative(setup.log_folder),
        "job_name": "daskjq",
        "config_name": pool.config_name,
    }
    site = dask.config.get(f"jobqueue.{pool.config_name or pool.system}", None) or {}
    return options | batch.system(pool.system).job_options(pool, setup.excluded, site)


class LocalPilot(ProcessInterface):  # type: ignore[misc]
    """A pilot as a child process of Snakemake, in a session of its own: Ctrl-C at the terminal is ours to handle."""

    def __init__(
        self, scheduler: str | None = None, name: str = "", *, arguments: Sequence[str], setup: PilotSetup
    ) -> None:
        super().__init__(scheduler=scheduler, name=name)
        self.scheduler = scheduler
        self.name = name
        self._arguments = arguments
        self._setup = setup
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        log_path = self._setup.log_folder / f"{self.name}.log"
        try:
            self._process = await self._started(log_path)
        except OSError as error:
            self._setup.listener.pilot_start_failed(self.name, str(error))
        else:
            self._setup.listener.pilot_submitted(self.name, str(self._process.pid))
            self._watcher = asyncio.create_task(self._watch(self._process, log_path))
        await super().start()

    async def _started(self, log_path: Path) -> asyncio.subprocess.Process:
        """Its process: the spare one where that is meant for it and lives, else a new one. Raises OSError."""
        arguments = [str(self.scheduler), "--name", self.name, "--death-timeout", str(DEATH_TIMEOUT_S)]
        arguments += ["--host", "127.0.0.1", *self._arguments]
        spare = self._setup.spare
        if spare is not None and spare.name == self.name and (process := spare.claim(arguments)) is not None:
            return process
        command = [sys.executable, "-m", PILOT_MODULE, *arguments]
        with log_path.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    async def _watch(self, process: asyncio.subprocess.Process, log_path: Path) -> None:
        status = await process.wait()
        self._setup.listener.pilot_start_failed(self.name, f"exit status {status}: {last_words(log_path)}")

    async def close(self) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), LOCAL_GRACE_S)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        await super().close()


class BatchPilot:
    """Mixed into a dask-jobqueue job class: submits in a task of its own and tells how that went."""

    system: BatchSystem
    job_id: str | None
    cancel_command: str

    def __init__(self, scheduler: str | None = None, name: str = "", *, setup: PilotSetup, **options: Any) -> None:
        super().__init__(scheduler=scheduler, name=name, **options)  # type: ignore[call-arg]
        self._setup = setup

    async def start(self) -> None:
        self._submission = asyncio.create_task(self._submit())
        self.status = Status.running

    async def _submit(self) -> None:
        job: Any = self
        try:
            with job.job_file() as script:
                answer = await job._submit_job(script)
                job.job_id = job._job_id_from_submit_output(answer)
        except (RuntimeError, ValueError, OSError) as error:
            self._setup.listener.pilot_start_failed(job.name, str(error))
        else:
            self._setup.listener.pilot_submitted(job.name, job.job_id)

    def _job_id_from_submit_output(self, output: str) -> str:
        try:
            return str(super()._job_id_from_submit_output(output))  # type: ignore[misc]
        except ValueError:
            said = " ".join(output.split())[:200] or "nothing"
            raise commands.CommandError(
                f"the submit command succeeded without telling a job's id; it said: {said}"
            ) from None

    @classmethod
    async def _call(cls, command: list[str], *, shell: bool = False) -> str:
        """dask-jobqueue's way to its submit command, with a time-out, and without a surrounding job's variables."""
        if shell:  # bsub's; its own words are wanted
            command = ["/bin/sh", "-c", command[0].removesuffix(" 2> /dev/null")]
        return await commands.call(command, commands.SUBMIT_S, env=cls.system.own_environment())

    @classmethod
    async def cancel(cls, batch_id: str) -> None:
        """Cancel a batch job of the system, whoever has submitted it."""
        await cls._close_job(batch_id, cls.cancel_command)

    @classmethod
    async def _close_job(cls, job_id: str | None, cancel_command: str) -> None:
        """Cancel. A busy system is asked again: nobody else would end the batch job."""
        for pause_s in (*CANCEL_AGAIN_S, None):
            if not job_id:
                return
            try:
                command = [*shlex.split(cancel_command), job_id]
                await commands.call(command, commands.CANCEL_S, env=cls.system.own_environment())
                return
            except (commands.CommandError, OSError) as error:
                if pause_s is None or _GONE.search(str(error)):
                    logger.warning("Batch job %s was not cancelled: %s", job_id, error)
                    return
                await asyncio.sleep(pause_s)

    async def close(self) -> None:
        # A job that is just being submitted has no id yet; cancelling must wait for it.
        if not (await asyncio.wait([self._submission], timeout=ABANDON_S))[0]:
            self._submission.cancel()  # if it was accepted nevertheless, its pilot ends itself at its start
            await asyncio.wait([self._submission])
        await super().close()  # type: ignore[misc]
        self.status = Status.closed


async def leave(pilots: Collection[BatchPilot]) -> None:
    """Let pilots that were told to end do so; they need not be cancelled then.

    For systems that cancel by SIGKILL: it would leave folders, and look like a crash in the accounting.
    """
    left = {pilot.job_id: pilot for pilot in pilots if pilot.job_id}
    until = time.monotonic() + LEAVE_S
    while left and time.monotonic() < until:
        await asyncio.sleep(LOOK_S)
        listed = await next(iter(left.values())).system.listed(())
        for batch_id in left.keys() - (left if listed is None else listed):
            left.pop(batch_id).job_id = None


@functools.cache
def batch_pilot_class(name: str) -> type[BatchPilot]:
    """dask-jobqueue's own job class of a batch system, with `BatchPilot` in front."""
    system = batch.system(name)
    module, _, job_class = system.job_class.partition(":")
    base = getattr(importlib.import_module(f"dask_jobqueue.{module}"), job_class)
    attributes: dict[str, Any] = {"system": system}
    if system.job_id is not None:
        attributes["job_id_regexp"] = system.job_id
    return type(f"{base.__name__}Pilot", (BatchPilot, base), attributes)


def last_words(log: Path, lines: int = 3) -> str:
    """The last lines of a pilot's log on one line; "" where there is none."""
    from ..pilot import log_tail

    return " / ".join(log_tail.read(str(log)).splitlines()[-lines:])


def _relative(folder: Path) -> str:
    """Relative to the working directory where it lies below: batch headers can't quote blanks in a path."""
    absolute = folder.absolute()
    try:
        return str(absolute.relative_to(os.getcwd()))
    except ValueError:
        return str(absolute)
