"""Which launcher of a pilot runs a job: one that starts it cold, or the warm one of its context.

A context is everything that a parse depends on and that is known before it: the arguments that jobs share,
the working directory, the variables and the interpreter. What a parse turns out to depend on (files, folders)
the fork server checks itself before each job; when something has changed, the context gets a new launcher. Where a
context can't be served as warm as asked, its jobs start at the next colder level, and say why.
"""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

from ..launcher import processes
from ..launcher.scope import Scope
from ..model.outcome import PILOT_ENDS
from ..model.rendezvous import VARIABLE
from ..model.request import WarmStart
from .launcher_client import LauncherHandle, RefusedError

if TYPE_CHECKING:
    from collections.abc import Collection

    from ..frames import Frame
    from ..model.outcome import Outcome
    from ..model.request import Launch

ContextKey: TypeAlias = tuple[object, ...]

MAX_JOBS = 5000
"""A fork server is replaced after so many jobs."""

MAX_CONTEXTS = 8
"""At most so many fork servers a pilot; the one that has been idle longest makes room."""

MAX_GROWTH_MB = 300.0
"""A launcher that has grown by so much since its start is replaced: its children would copy that."""

MEASURE_EVERY = 50
"""After so many jobs it is looked how far it has grown."""

IDLE_S = 600.0
"""A fork server without a job ends after this time."""

STALE_PARSES = 2
"""After so many parses in a row that were out of date before long, a context gets no other: jobs start colder."""

JOBS_WORTH_A_PARSE = 20
"""A parse that has served so many jobs was not in vain, whatever has changed then."""

REFUSAL_S = 60.0
"""So long a context is refused that could not be served as things were, for example when a file was being written."""


@dataclass(slots=True)
class Context:
    """The launcher of one context at one level, or why it has none."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    launcher: LauncherHandle | None = None
    refused: str = ""
    refused_until: float = 0.0  # in the event loop's time
    stale_parses: int = 0  # in a row
    jobs: int = 0
    start_mb: float = 0.0
    idle_timer: asyncio.TimerHandle | None = None

    @property
    def fit(self) -> bool:
        """True if the launcher may have one more job."""
        launcher = self.launcher
        return (
            launcher is not None
            and launcher.alive
            and self.jobs < MAX_JOBS
            and (self.jobs % MEASURE_EVERY > 0 or processes.resident_mb(launcher.pid) - self.start_mb < MAX_GROWTH_MB)
        )

    def refuse(self, refusal: RefusedError) -> None:
        """Remember it, as long as it holds."""
        now = asyncio.get_running_loop().time()
        self.refused = str(refusal)
        self.refused_until = now + REFUSAL_S if refusal.scope is Scope.NOW else float("inf")

    @property
    def is_refused(self) -> bool:
        return bool(self.refused) and asyncio.get_running_loop().time() < self.refused_until

    def count_stale(self, change: RefusedError) -> None:
        """A parse is out of date. Where that happens again and again, the context is refused."""
        served = self.jobs - 1  # the last one finds it out of date
        self.stale_parses = self.stale_parses + 1 if served < JOBS_WORTH_A_PARSE else 0
        if self.stale_parses == STALE_PARSES:
            self.refuse(RefusedError(f"parsed again and again: {change}"))


UNWANTED = "it was told to end before it began"


class Launchers:
    """All launchers of a pilot."""

    def __init__(self) -> None:
        self._contexts: dict[ContextKey, Context] = {}
        self._retired: set[LauncherHandle] = set()
        self._starting: set[asyncio.Task[LauncherHandle]] = set()
        self._lease_until = float("inf")
        self._unwanted: set[str] = set()
        self.stopped = False

    async def run(self, launch: Launch) -> Outcome:
        """Run a job as warm as it asks for and can be.

        Raises OSError where no launcher can be started (any more), or the job is not wanted any more.
        """
        levels, reasons = _levels(launch)
        try:
            for level in levels:
                context = self._contexts.setdefault(context_key(launch, level), Context())
                try:
                    outcome = await self._run_at(level, context, launch)
                except RefusedError as refusal:
                    reasons.append(str(refusal))
                else:
                    return replace(outcome, colder_because="; ".join(reasons))
        finally:
            self._unwanted.discard(launch.key)
        raise AssertionError("a cold launcher refuses nothing")

    async def _run_at(self, level: WarmStart, context: Context, launch: Launch) -> Outcome:
        """Raises RefusedError where the job can't be run at this level."""
        while True:
            launcher = await self._launcher(context, launch, level)
            if launch.key in self._unwanted:
                self._job_ended(context)
                raise OSError(UNWANTED)
            try:
                return await launcher.run(launch, level)
            except RefusedError as refusal:
                if refusal.scope is Scope.JOB:
                    raise
                if context.launcher is launcher:  # another job may have got the context a new one already
                    if refusal.scope is Scope.PARSE:
                        context.count_stale(refusal)
                    else:
                        context.refuse(refusal)
                    self._retire(context)
            finally:
                self._job_ended(context)

    def end(self, jobs: Collection[str], grace_s: float) -> None:
        """End these jobs, all of which `run` has."""
        self._unwanted.update(jobs)
        for launcher in self._all():
            launcher.end(jobs, grace_s)

    async def stop(self, grace_s: float) -> None:
        """End all jobs and all launchers, also those that are just being started; no job is started after that."""
        self.stopped = True
        starting = list(self._starting)
        for start in starting:
            start.cancel()
        await asyncio.gather(*(launcher.stop(grace_s) for launcher in self._all()))
        if starting:
            await asyncio.wait(starting)

    def renew_lease(self, until: float) -> None:
        """Allow jobs to go on up to `until` (see `lease`), also those of launchers that start later."""
        self._lease_until = until
        for launcher in self._all():
            launcher.renew_lease(until)

    def _all(self) -> list[LauncherHandle]:
        return [*self._retired, *(context.launcher for context in self._contexts.values() if context.launcher)]

    async def _launcher(self, context: Context, launch: Launch, level: WarmStart) -> LauncherHandle:
        """The context's live launcher. Raises RefusedError where it can't have one, OSError for a cold one."""
        async with context.lock:
            if self.stopped:
                raise OSError(PILOT_ENDS)
            if context.is_refused:
                raise RefusedError(context.refused)
            if not context.fit:
                self._retire(context)
                self._make_room()
                try:
                    context.launcher = await self._started(launch, level)
                    context.launcher.renew_lease(self._lease_until)
                    context.start_mb = processes.resident_mb(context.launcher.pid)
                except RefusedError as refusal:
                    context.refuse(refusal)
                    raise
                except OSError as error:
                    if level in (WarmStart.OFF, WarmStart.DIRECT) or self.stopped:
                        raise
                    unable = RefusedError(str(error), Scope.NOW)
                    context.refuse(unable)
                    raise unable from error
            assert context.launcher is not None
            context.jobs += 1
            if context.idle_timer is not None:
                context.idle_timer.cancel()
            return context.launcher

    async def _started(self, launch: Launch, level: WarmStart) -> LauncherHandle:
        starting = asyncio.create_task(LauncherHandle.start(opening(launch, level), launch.warm_up_s))
        self._starting.add(starting)
        try:
            launcher = await starting
        except asyncio.CancelledError:
            if self.stopped:
                raise OSError(PILOT_ENDS) from None
            raise
        finally:
            self._starting.discard(starting)
        if self.stopped:  # it was ready at the same moment
            await launcher.stop(0.0)
            raise OSError(PILOT_ENDS)
        return launcher

    def _job_ended(self, context: Context) -> None:
        if context.launcher is not None and context.launcher.idle:
            loop = asyncio.get_running_loop()
            context.idle_timer = loop.call_later(IDLE_S, self._retire, context)
        for launcher in [launcher for launcher in self._retired if launcher.idle]:
            self._end(launcher)

    def _retire(self, context: Context) -> None:
        """Give the context's launcher no more jobs; it ends with its last one."""
        if context.launcher is not None:
            if context.launcher.idle:
                self._end(context.launcher)
            else:
                self._retired.add(context.launcher)
        context.launcher = None
        context.jobs = 0

    def _make_room(self) -> None:
        live = [context for context in self._contexts.values() if context.launcher is not None]
        idle = [context for context in live if context.launcher is not None and context.launcher.idle]
        if len(live) >= MAX_CONTEXTS and idle:
            self._retire(idle[0])

    def _end(self, launcher: LauncherHandle) -> None:
        self._retired.add(launcher)  # keeps the task, and lets `stop` wait for it
        task = asyncio.get_running_loop().create_task(launcher.stop(0.0, pilot_ends=False))
        task.add_done_callback(lambda _: self._retired.discard(launcher))


def _levels(launch: Launch) -> tuple[list[WarmStart], list[str]]:
    """The levels to try, warmest first, and why the warmest is not the one that is asked for.

    What a precommand sets up, or another interpreter has, a fork of this one has not.
    """
    if launch.command is not None:
        return [WarmStart.DIRECT], []
    levels = [WarmStart.WORKFLOW, WarmStart.IMPORT, WarmStart.OFF]
    levels = levels[levels.index(launch.warm_start) :]
    reasons = [launch.colder_because] if launch.colder_because else []
    if launch.precommand:
        why = "a command has to run before it"
    elif launch.python not in (sys.executable, "python"):
        why = f"its interpreter is {launch.python}"
    else:
        return levels, reasons
    return levels[-1:], [*reasons, *([why] if len(levels) > 1 and why not in reasons else [])]


def context_key(launch: Launch, level: WarmStart) -> ContextKey:
    """What two jobs must have in common to share a launcher."""
    if level in (WarmStart.OFF, WarmStart.DIRECT):  # either is a command to that launcher
        return (WarmStart.OFF,)
    variables = tuple(sorted(_shared(launch).items()))
    if level is WarmStart.IMPORT:
        return level, variables
    return level, variables, launch.common_argv, launch.cwd


def _shared(launch: Launch) -> dict[str, str]:
    """The variables that jobs of one context have in common."""
    return {name: value for name, value in launch.env.items() if name != VARIABLE}


def opening(launch: Launch, level: WarmStart) -> Frame | None:
    """The first frame to a fork server; None for the one that starts commands."""
    if level in (WarmStart.OFF, WarmStart.DIRECT):
        return None
    return {
        "op": "open",
        "level": level,
        "argv": launch.argv,
        "cwd": launch.cwd,
        "env": _shared(launch),
        "tmpdirs": os.path.dirname(launch.grant.tmpdir),
    }
