"""The pilot's side of a launcher: starts it, hands it jobs, and awaits their ends.

It lives in the event loop of the pilot's Dask worker. Which launcher runs which job is decided in `contexts`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

from ..frames import HEADER, Frame, body_length, decode, encode
from ..launcher import processes
from ..launcher.scope import Scope
from ..launcher.watch import SNAKEMAKE_MB
from ..model.machine_view import RECORD_NAME, usable_mb
from ..model.outcome import PILOT_ENDS, End, Outcome
from ..model.request import TMPDIR, WARM_UP_S, Limits, WarmStart
from . import log_tail

if TYPE_CHECKING:
    from collections.abc import Collection

    from ..model.request import Command, Launch


LAUNCHER = "snakemake_executor_daskjq.launcher"

SETTLE_S = 0.3

KILLED_S = 5.0
"""So long a launcher's end is waited for; a killed one that hangs in a network file system ends when that answers."""

RUNTIME_SLACK_S = 30.0
"""How far beyond its runtime a job may go before it is ended; Slurm looks about as often."""

RECORD_BYTES = 10_000
"""No more is read of what a job says of its Dask clusters."""

CAN_T_START = 127
"""The exit status of a child that could not become its job (`launcher.not_started`)."""

WITHOUT_THREADS = {"JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""What keeps libraries from starting threads as a fork server imports them: where pandas finds Arrow, its allocator."""

_launchers: set[int] = set()
"""The processes of this pilot's launchers: each is reaped by who started it."""

_PLAIN_PATH = re.compile(r"[\w@%+=:,./-]*", re.ASCII)
"""As `shlex` has it: quoted or not, a shell reads the same."""

KILLED = ("exit status 137", "ended by SIGKILL")
"""How `log_tail.rule_failure` tells a rule's command that got SIGKILL (137: as its shell reports it)."""


class RefusedError(Exception):
    """A fork server can't serve a context, or must not start a job from what it has parsed; the text says why."""

    def __init__(self, why: str, scope: Scope = Scope.CONTEXT) -> None:
        super().__init__(why)
        self.scope = scope


class KilledError(OSError):
    """A launcher was ended by a signal at its start: that says nothing about its job."""


class LauncherHandle:
    """A running launcher.

    What must hold: every job that was started ends in exactly one `Outcome`; if the launcher dies, its running
    jobs are lost and their processes are killed.
    """

    def __init__(self, process: subprocess.Popen[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self._process = process
        self._reader = reader
        self._writer = writer
        self._waiting: dict[str, asyncio.Future[Frame]] = {}
        self._pids: dict[str, int] = {}
        self._stopping = False
        self._pilot_ends = asyncio.Event()
        self._listener = asyncio.create_task(self._listen())

    @classmethod
    async def start(cls, opening: Frame | None = None, limit_s: float = WARM_UP_S) -> LauncherHandle:
        """Start a launcher and wait for its READY: one that starts jobs cold, or one warmed up as `opening` says.

        Raises
        ------
        RefusedError : where a fork server can't serve what `opening` asks for, or is not warm after `limit_s`.
        KilledError : where a signal ends it before it is ready.
        OSError : where the process can't be started or ends at once, or a cold launcher is not ready after `limit_s`.
        """
        module, environment = "launcher", dict(os.environ)
        if opening is not None:
            module, own = "fork_server", WITHOUT_THREADS.keys() - os.environ.keys()
            environment |= {name: WITHOUT_THREADS[name] for name in own}
            opening = {**opening, "own_variables": sorted(own)}
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", f"{LAUNCHER}.{module}", str(theirs.fileno())]
            process = subprocess.Popen(  # noqa: ASYNC220 - a fork and an exec, no waiting
                command,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=environment,
                start_new_session=True,
            )
        _launchers.add(process.pid)
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        try:
            if opening is not None:
                writer.write(encode(opening))
            async with asyncio.timeout(limit_s):
                frame = await _read(reader)
            if frame["op"] == "refused":
                raise RefusedError(frame["why"], Scope(frame["scope"]))
            if frame["op"] == "crashed":
                raise ConnectionError(frame["why"])
        except BaseException as error:
            writer.close()
            if ended := isinstance(error, (asyncio.IncompleteReadError, ConnectionError)):
                await _end(process)  # by itself: its status may be all that is known
            # Else it has said no and ends, or it is still parsing and nobody waits for it any more.
            processes.kill_group(process.pid, signal.SIGKILL)  # also what the Snakefile has started
            await _end(process)
            if ended:
                why = str(error) if type(error) is ConnectionError else f"exit status {process.returncode}"
                kind = KilledError if (process.returncode or 0) < 0 else OSError
                raise kind(f"the launcher ended at its start ({why})") from error
            if isinstance(error, TimeoutError):
                raise _too_slow(opening, limit_s) from None
            raise
        return cls(process, reader, writer)

    def renew_lease(self, until: float) -> None:
        """Allow jobs to go on up to `until` (see `lease`)."""
        with contextlib.suppress(ConnectionError):
            self._writer.write(encode({"op": "lease", "until": until}))

    @property
    def alive(self) -> bool:
        return not self._listener.done() and not self._stopping

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def idle(self) -> bool:
        """True if no job is to be told any more, also none whose process has ended just now."""
        return not self._waiting

    async def run(self, launch: Launch, warm_start: WarmStart = WarmStart.OFF) -> Outcome:
        """Start a job's child and wait for its end. Raises RefusedError where it must not be started here."""
        ended: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._waiting[launch.key] = ended
        self._writer.write(encode(start_frame(launch, warm_start)))
        try:
            await self._writer.drain()
            frame = await ended
            self._pids.pop(launch.key, None)  # it may be another process' by now
            if frame["op"] == "ended" and frame["status"] != 0:
                # A batch system's TERM reaches a pilot and its jobs at the same moment, and a job may be faster:
                # wait whether the pilot is ending too, for then this says nothing about the rule.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._pilot_ends.wait(), SETTLE_S)
        except ConnectionError as error:
            self._stopping = True  # writing may notice before the listener does, and no other job must come here
            detail = PILOT_ENDS if self._pilot_ends.is_set() else f"the launcher is gone ({error})"
            return Outcome(End.LOST, detail=detail, warm_start=warm_start)
        finally:
            self._waiting.pop(launch.key, None)
            self._pids.pop(launch.key, None)
        if frame["op"] == "stale":
            raise RefusedError(frame["why"], Scope(frame["scope"]))
        ending = "it was told to end, or its pilot was out of touch" if frame["ending"] else ""
        return _outcome(frame, launch, warm_start, ending=PILOT_ENDS if self._pilot_ends.is_set() else ending)

    def end(self, jobs: Collection[str], grace_s: float) -> None:
        """End those of these jobs that it has (TERM, after `grace_s` KILL)."""
        if own := sorted(self._waiting.keys() & jobs):
            with contextlib.suppress(ConnectionError):
                self._writer.write(encode({"op": "end", "ids": own, "grace_s": grace_s}))

    async def stop(self, grace_s: float, *, pilot_ends: bool = True) -> None:
        """End all jobs (TERM, after `grace_s` KILL) and the launcher; returns when they are gone.

        Only where its pilot ends, too, are its jobs lost to that.
        """
        self._stopping = True
        if pilot_ends:
            self._pilot_ends.set()
        with contextlib.suppress(ConnectionError):
            self._writer.write(encode({"op": "stop", "grace_s": grace_s}))
            await self._writer.drain()
        await asyncio.wait([self._listener], timeout=grace_s + 5)

    async def _listen(self) -> None:
        crash = ""
        try:
            while True:
                frame = await _read(self._reader)
                if frame["op"] == "started":
                    self._pids[frame["id"]] = frame["pid"]
                elif frame["op"] in ("ended", "stale") and frame["id"] in self._waiting:
                    self._waiting[frame["id"]].set_result(frame)
                elif frame["op"] == "crashed":
                    crash = frame["why"]
        except (asyncio.IncompleteReadError, ConnectionError):
            # The launcher is dead, or all but; no child may outlive it, and it gets no job while these are looked for.
            self._stopping = True
            self._process.kill()
            await _end(self._process)
            await self._end_orphans()
        finally:
            # Also when the pilot ends meanwhile: at the end of its stream the launcher ends its jobs and itself.
            self._writer.close()
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(ConnectionError(crash or f"exit status {self._process.returncode}"))

    async def _end_orphans(self) -> None:
        """Kill what a dead launcher leaves behind; they are this pilot's children now. Returns when they are gone."""
        jobs, groups = set(self._waiting), set(self._pids.values())
        while left := {pid for pid in groups if not processes.reaped(pid)} | processes.orphans_of(jobs):
            groups |= left
            for pid in left:
                processes.kill_group(pid, signal.SIGKILL)
                processes.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.01)
        processes.reap_all_but(_launchers)  # those that the kernel has killed say nothing of whose they were


def _too_slow(opening: Frame | None, limit_s: float) -> RefusedError | OSError:
    """What to say of a launcher that was not ready in time. It would not be the next time, either."""
    within = f"within {limit_s:g} s (--daskjq-warm-up-timeout)"
    if opening is None:
        return OSError(f"the launcher was not ready {within}")
    done = "the Snakefile was not parsed" if opening["level"] == WarmStart.WORKFLOW else "Snakemake was not imported"
    return RefusedError(f"{done} {within}", Scope.CONTEXT)


async def _end(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end of a process that ends: not for ever, for it may hang in a file system."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(KILLED_S):
            while process.poll() is None:  # noqa: ASYNC110 - the end of a process can't be awaited
                await asyncio.sleep(0.005)
            _launchers.discard(process.pid)


async def _read(reader: asyncio.StreamReader) -> Frame:
    return decode(await reader.readexactly(body_length(await reader.readexactly(HEADER.size))))


def _log_error(path: str) -> str:
    """Why a log can't be written; "" where it can. Asked only where a job could not say so itself."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666))
    except OSError as error:
        return f"its log can't be written: {error}"
    return ""


def start_frame(launch: Launch, warm_start: WarmStart) -> Frame:
    """What a launcher is told to start: a command, or the arguments of Snakemake in its own child."""
    grant = launch.grant
    frame: Frame = {
        "op": "start",
        "id": launch.key,
        "cwd": launch.cwd,
        "log": launch.log_path,
        "cpus": grant.cpus,
        "tmpdir": grant.tmpdir,
        "env": {**grant.env, **launch.env},
    }
    if launch.limits is not Limits.OFF:
        kill = launch.limits is Limits.ENFORCE
        own_mb = 0.0 if warm_start is WarmStart.DIRECT else SNAKEMAKE_MB
        frame["bounds"] = [launch.mem_limit_mb, launch.runtime_s or None, RUNTIME_SLACK_S, kill, own_mb]
        if (held_mb := launch.amounts.get("mem_mb")) is not None:
            frame["shown_mb"] = usable_mb(held_mb)
    if launch.command is not None:
        return {**frame, **_direct(launch, launch.command)}
    if warm_start is WarmStart.OFF:
        return {**frame, "argv": cold_command(launch)}
    return {**frame, "argv": launch.argv, "job_argv": list(launch.job_argv)}


def _direct(launch: Launch, command: Command) -> Frame:
    """What is a direct start's own in its frame, with the job's folder for temporary files in its place.

    Raises OSError where a command can't hold that folder as it is.
    """
    tmpdir = launch.grant.tmpdir
    if not _PLAIN_PATH.fullmatch(tmpdir) and any(TMPDIR in argument for argv in command.argvs for argument in argv):
        raise OSError(
            f"its folder for temporary files, {tmpdir!r}, has characters that a shell reads otherwise: choose another "
            "place for it (--daskjq-scratch-folder, or TMPDIR on the pilot's launcher)"
        )

    def filled(text: str) -> str:
        return text.replace(TMPDIR, tmpdir)

    argvs = [[filled(argument) for argument in argv] for argv in command.argvs]
    ready = {
        "stale": command.stale,
        "folders": command.folders,
        "wait_for": command.wait_for,
        "wait_s": command.latency_wait_s,
        "fill": command.fill,
    }
    return {
        "argv": argvs[0],
        "cwd": command.cwd,
        "env": {
            **launch.grant.env,
            **launch.env,
            **{name: filled(value) for name, value in command.env.items()},
        },
        "unset": command.unset,
        "late": {"products": command.products, "latency_wait_s": command.latency_wait_s},
        **({"benchmark": argvs} if command.benchmark else {}),
        "ready": ready,
    }


def cold_command(launch: Launch) -> list[str]:
    """The command that runs a job from scratch.

    >>> from snakemake_executor_daskjq.model.request import Launch
    >>> cold_command(Launch("a", (), ("--cores", "1"), "/", "/log", "python", precommand="module load gcc"))
    ['/bin/sh', '-c', 'module load gcc && exec "$@"', 'sh', 'python', '-m', 'snakemake', '--cores', '1']
    """
    command = [launch.python, "-m", "snakemake", *launch.argv]
    if launch.precommand:
        return ["/bin/sh", "-c", f'{launch.precommand} && exec "$@"', "sh", *command]
    return command


def _outcome(frame: Frame, launch: Launch, warm_start: WarmStart, *, ending: str) -> Outcome:
    status = int(frame["status"])
    exceeded: str | None = frame["exceeded"]
    detail, warning = "", f"went over a limit: {frame['figures']}" if exceeded else ""
    if status == 0:
        end = End.SUCCEEDED
    elif ending:
        end, detail = End.LOST, ending  # we ended it, so it says nothing about the rule
    else:
        end = End.FAILED
    tail = log_tail.read(launch.log_path) if end is End.FAILED else ""
    if status == CAN_T_START and not tail and (why := _log_error(launch.log_path)):
        end, detail = End.NOT_STARTED, why
    if end is End.FAILED:
        detail = "" if warm_start is WarmStart.DIRECT else log_tail.rule_failure(tail)  # its status is the rule's own
        if exceeded and launch.limits is Limits.ENFORCE:
            end, detail, warning = End(exceeded), frame["figures"], ""
        elif frame["oom_kills"] and (status in (-signal.SIGKILL, 137) or detail in KILLED):
            end, detail = (
                End.OUT_OF_MEMORY,
                f"the kernel ended a process of it; its largest had {frame['peak_mem_mb']:.0f} MB",
            )
    return Outcome(
        end=end,
        exit_status=status if status >= 0 else None,
        signal_number=-status if status < 0 else None,
        started_at=frame["started_at"],
        ended_at=frame["ended_at"],
        cpu_s=frame["cpu_s"],
        peak_mem_mb=frame["peak_mem_mb"],
        detail=detail,
        warning=warning,
        log_tail=tail,
        warm_start=warm_start,
        benchmark=frame.get("benchmark", ""),
        dask=_dask_clusters(launch.grant.tmpdir),
    )


def _dask_clusters(tmpdir: str) -> str:
    """What Dask clusters of the job's own have left of themselves (`rules.client`), a line of JSON each."""
    path = f"{tmpdir}/{RECORD_NAME}"
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):  # a job may have put anything there
            return ""
        with open(path, encoding="ascii") as file:
            return file.read(RECORD_BYTES)
    except (OSError, ValueError):
        return ""
