"""The launcher: starts the children of a pilot's jobs and reaps them. `python -m ...launcher.launcher FD`.

It is exec'd by the pilot, single-threaded, and speaks frames on the socket FD:

    pilot -> launcher   start {id, argv, cwd, env, log, cpus, tmpdir, bounds}   end {ids, grace_s}
                    stop {grace_s}   lease {until}
    launcher -> pilot   ready {pid}
                    ended {id, status, started_at, ended_at, cpu_s, peak_mem_mb, exceeded, figures, oom_kills, ending}
                          and {benchmark} where the job was measured
                    crashed {why}: an error of the launcher's own ends it

Direct starts also have `unset`, `ready` (see `readiness`) and `benchmark` (see there) in their `start`.

`fork_server` has a launcher that does not exec its children but runs Snakemake in them. Of each child that was forked
`started {id, pid}` is sent: it does not tell by its environment whose it is, as one that was executed does.

Each child leads its own session, reads nothing on stdin and writes to its log. The launcher is a subreaper:
what a job leaves behind becomes the launcher's child and is ended with the job. When the socket closes, the
pilot is gone, and the launcher ends every child, their temporary files and itself; so it does when its lease is over
(see `lease`): the pilot may be stopped, and these jobs be taken for lost. When the launcher dies, the kernel kills
children that were forked (parent-death signal), and `spawn.Guard` the others. Children that have run for a while are
sampled against their bounds (see `watch`).
"""

from __future__ import annotations

import contextlib
import gc
import os
import selectors
import signal
import socket
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from types import NoneType
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

from ..frames import Decoder, Frame, FrameError, encode
from . import processes
from .lease import GRACE_S, uptime_s
from .lingering import LOOK_S, Lingering
from .readiness import make_ready
from .scratch import remove_tree
from .spawn import Guard, spawned
from .strays import end_all, strays_of
from .watch import FIRST_SAMPLE_S, KILL_AFTER_S, Bounds, OomKills, next_interval_s, usage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


LONGEST_WAIT_S = 3600.0
"""No longer is anything waited for at a time: the kernel takes no time-out of more than some weeks."""

HANDLED = (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that a launcher deals with in its own way."""

_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


@dataclass(slots=True)
class Child:
    job: str
    pid: int
    bounds: Bounds
    oom_kills: int  # the kernel's count when it started
    started_at: float = field(default_factory=time.time)
    started: float = field(default_factory=time.monotonic)
    peak_mb: float = 0.0  # of its samples
    exceeded: str = ""
    figures: str = ""
    kill_at: float | None = None  # monotonic; set when it was told to end
    is_unwanted: bool = False  # it was told to end, and not for what it did
    records: BinaryIO | None = None  # where a benchmark writes
    products: Sequence[str] | None = None  # of a direct start
    latency_wait_s: float = 0.0


class Launcher:
    def __init__(self, sock: socket.socket, tmpdirs: str = "", guard: Guard | None = None) -> None:
        """With a `guard`, children of direct starts are not forked where that can be helped."""
        self._sock = sock
        self._guard = guard
        self._decoder = Decoder()
        self._children: dict[int, Child] = {}
        self._lingering: dict[str, Lingering] = {}
        self._deadline: float | None = None  # monotonic; set once everything has to end
        self._lease_until = float("inf")  # uptime; finite once the pilot has sent one
        self._sample_at: float | None = None  # monotonic; set while there are children
        self._oom_kills = OomKills()
        self._oom_count = self._oom_kills.count()
        self._tmpdirs = tmpdirs  # where jobs' temporary folders lie, as far as it is known
        self._surroundings = dict(os.environ)
        self._selector = selectors.DefaultSelector()
        self._wakeup, self._signalled = socket.socketpair()

    def run(self) -> None:
        """Serve until told to stop, or until the pilot is gone, and all children have ended."""
        processes.become_subreaper()
        self._handle_signals()
        pilot_is_gone = False
        selector, wakeup = self._selector, self._wakeup
        selector.register(self._sock, selectors.EVENT_READ)
        selector.register(wakeup, selectors.EVENT_READ)
        self.send(op="ready", pid=os.getpid())
        while self._deadline is None or self._children or self._lingering:
            due = [at for at in (self._deadline, self._sample_at) if at is not None]
            waits = [at - time.monotonic() for at in due]
            if self._lingering:
                waits.append(LOOK_S)
            if self._deadline is None and self._lease_until < float("inf"):
                waits.append(self._lease_until - uptime_s())
            timeout = min(max(0.0, min(waits)), LONGEST_WAIT_S) if waits else None
            ready = {key.fileobj for key, _ in selector.select(timeout)}
            if self._lease_is_over():  # this process may have been stopped, and renewals be waiting
                ready |= {key.fileobj for key, _ in selector.select(0)}
            if wakeup in ready:
                wakeup.recv(4096)
                self._reap()
            if self._sock in ready and not self._read():
                selector.unregister(self._sock)
                pilot_is_gone = self._deadline is None
                self._end_all(GRACE_S)
            if self._deadline is None and self._lease_is_over():
                print("launcher: the pilot has been out of touch for too long", file=sys.stderr)
                pilot_is_gone = True  # or it ends as soon as it can
                self._end_all(GRACE_S)
            if self._lingering:
                self._look_at_lingering()
            if self._sample_at is not None and time.monotonic() >= self._sample_at:
                self._sample()
            if self._deadline is not None and time.monotonic() >= self._deadline:
                self._signal_all(signal.SIGKILL)
                self._deadline = time.monotonic() + 1.0  # until the kernel has delivered them
        end_all(self._strays)
        if pilot_is_gone and self._tmpdirs:
            remove_tree(self._tmpdirs)  # a pilot that stops its launchers does so itself
        signal.set_wakeup_fd(-1)
        if self._guard is not None:
            self._guard.close()

    def _handle_signals(self) -> None:
        for end in (self._wakeup, self._signalled):
            end.setblocking(False)
        signal.set_wakeup_fd(self._signalled.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        # A batch system's TERM goes to every process of the pilot; the launcher ends when its pilot does, so
        # that running jobs are ended with their grace time and not torn away.
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(signum, lambda *_: None)  # not ignored: what is executed would ignore it, too

    def _descriptors(self) -> list[int]:
        """The files that are the launcher's alone. It ends with them: its pilot takes the socket's end for its own."""
        own: list[Any] = [self._selector, self._wakeup, self._signalled, self._sock]
        return [one.fileno() for one in own if hasattr(one, "fileno")]

    def _read(self) -> bool:
        """Act on what the pilot sent; False where it is gone."""
        try:
            data = self._sock.recv(65536)
            frames = [_checked(frame) for frame in self._decoder.feed(data)]
        except (OSError, FrameError) as error:
            print(f"launcher: {error}", file=sys.stderr)
            return False
        for frame in frames:
            if frame["op"] == "start":
                self._start(frame)
            elif frame["op"] == "end":
                self._end(frozenset(frame["ids"]), float(frame["grace_s"]))
            elif frame["op"] == "stop":
                self._end_all(float(frame["grace_s"]))
            elif frame["op"] == "lease":
                self._lease_until = max(frame["until"], self._lease_until if self._lease_until < float("inf") else 0.0)
        return bool(data)

    def _lease_is_over(self) -> bool:
        return uptime_s() >= self._lease_until

    def _start(self, frame: Frame) -> None:
        if self._deadline is not None or self._lease_is_over():
            return  # it ends, and the job with it; it may run elsewhere by now
        records, environment = self._records(frame), self._environment(frame)
        pid = None
        if self._guard is not None and "ready" in frame and records is None:
            pid = spawned(frame, environment, self._guard)
        is_forked = pid is None
        if pid is None:
            pid = os.fork()
        if pid == 0:  # it copies every page that it touches: what can be done before is
            self._in_child(frame, records, environment)
        bounds = Bounds(*frame.get("bounds", ()))
        self._children[pid] = Child(frame["id"], pid, bounds, self._oom_count, records=records, **frame.get("late", {}))
        self._tmpdirs = os.path.dirname(frame["tmpdir"])
        if self._sample_at is None:
            self._sample_at = time.monotonic() + FIRST_SAMPLE_S
        if is_forked:
            self.send(op="started", id=frame["id"], pid=pid)

    def _environment(self, frame: Frame) -> dict[str, str]:
        environment = {**self._surroundings, **frame["env"], processes.JOB_VARIABLE: frame["id"]}
        for name in frame.get("unset", ()):
            environment.pop(name, None)
        return environment

    def _records(self, frame: Frame) -> BinaryIO | None:
        """A file without a name for what a benchmarked job measures; None for other jobs."""
        if "benchmark" not in frame:
            return None
        from . import benchmark  # noqa: F401 - once, so that no child has to import it

        return tempfile.TemporaryFile()

    def _in_child(self, frame: Frame, records: BinaryIO | None, environment: dict[str, str]) -> NoReturn:
        """In the forked child: become the job."""
        try:
            for signum in (*HANDLED, *_IGNORED_BY_PYTHON):
                signal.signal(signum, signal.SIG_DFL)
            if self._guard is not None:
                self._guard.leave()
            enter_job(frame)
            if "ready" in frame:
                make_ready(**frame["ready"], tmpdir=frame["tmpdir"])
            if records is not None:
                from . import benchmark

                signal.set_wakeup_fd(-1)
                for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                    signal.signal(signum, lambda *_: None)  # the command gets them, too, and is waited for
                benchmark.run(frame["benchmark"], environment, records)
            os.execvpe(frame["argv"][0], frame["argv"], environment)
        except BaseException as error:
            not_started(error)

    def _reap(self) -> None:
        strays: dict[str | None, list[int]] | None = None
        dead: set[int] = set()
        has_strays = False
        for pid in _ended_children():
            ended_at = time.time()
            if strays is None or pid in self._children.keys() - dead:
                # What a child has left comes to this process when it ends: it is seen if that was before.
                dead = {one for one in self._children if _has_ended(one)}
                strays = self._strays()
                has_strays = has_strays or bool(strays)
            child = self._children.pop(pid, None)
            lingers = child is not None and child.products is not None and child.job in strays
            if child is not None and not lingers:
                # The job is over when its child is: what it left running would use resources that are
                # free now. The child is not reaped yet, so its process group can't be another's.
                processes.kill_group(pid, signal.SIGKILL)
            if self._guard is not None:
                self._guard.forget(pid)
            _, status, usage = os.wait4(pid, 0)
            if self._guard is not None and pid == self._guard.pid:
                self._guard = None  # somebody has killed it: jobs are forked from now on
            if child is not None:
                if status != 0:
                    self._oom_count = self._oom_kills.count()
                ended = {
                    "op": "ended",
                    "id": child.job,
                    "status": os.waitstatus_to_exitcode(status),
                    "started_at": child.started_at,
                    "ended_at": ended_at,
                    "cpu_s": usage.ru_utime + usage.ru_stime,
                    "peak_mem_mb": max(usage.ru_maxrss * 1024 / 1e6, child.peak_mb),
                    "exceeded": child.exceeded,
                    "figures": child.figures,
                    "oom_kills": self._oom_count - child.oom_kills,
                    **_benchmark(child),
                }
                if child.is_unwanted:
                    self._send_ended(ended, ending=True)
                elif lingers:
                    wait_s = child.latency_wait_s if status == 0 else 0.0
                    self._lingering[child.job] = Lingering.since(time.monotonic(), ended, child.products or (), wait_s)
                else:
                    self._send_ended(ended)
        if strays is None or has_strays:
            self._signal_strays(signal.SIGKILL, of_running_jobs=False)

    def _look_at_lingering(self) -> None:
        now, strays = time.monotonic(), self._strays()
        for job, lingering in list(self._lingering.items()):
            if job not in strays or self._deadline is not None or lingering.is_over(now, strays[job]):
                del self._lingering[job]
                self._send_ended(lingering.frame)
                self._signal_strays(signal.SIGKILL, of_running_jobs=False)

    def _send_ended(self, frame: Frame, *, ending: bool = False) -> None:
        self.send(**frame, ending=ending or self._deadline is not None)

    def _sample(self) -> None:
        """Look at the children that are old enough; end those that go over their bounds."""
        now = time.monotonic()
        self._oom_count = self._oom_kills.count()
        strays = self._strays()
        for child in self._children.values():
            if now - child.started < FIRST_SAMPLE_S:
                continue
            others = processes.descendants_of(child.pid, *strays.get(child.job, ()))
            others += strays.get(child.job, ())
            if child.kill_at is not None:
                if now >= child.kill_at:
                    self._signal_tree(child, others, signal.SIGKILL)
                continue
            used = usage(child.pid, others, child.bounds.mem_mb, child.bounds.own_mb)
            child.peak_mb = max(child.peak_mb, used.total_mb)
            if not child.exceeded and (found := child.bounds.exceeded(used.counted_mb, now - child.started)):
                child.exceeded, child.figures = found
                if child.bounds.kill:
                    child.kill_at = now + KILL_AFTER_S
                    self._signal_tree(child, others, signal.SIGTERM)
        ended = time.monotonic()
        kills = [child.kill_at for child in self._children.values() if child.kill_at and child.kill_at > now]
        self._sample_at = min([ended + next_interval_s(ended - now), *kills]) if self._children else None

    def _end(self, jobs: frozenset[str], grace_s: float) -> None:  # others go on
        now, strays = time.monotonic(), self._strays()
        for child in self._children.values():
            if child.job in jobs:
                child.is_unwanted, child.kill_at = True, now + grace_s
                left = strays.get(child.job, [])
                self._signal_tree(child, [*processes.descendants_of(child.pid, *left), *left], signal.SIGTERM)
                self._sample_at = min(self._sample_at or child.kill_at, child.kill_at)
        for job in jobs & self._lingering.keys():
            self._send_ended(self._lingering.pop(job).frame, ending=True)
            self._signal_strays(signal.SIGKILL, of_running_jobs=False)

    def _signal_tree(self, child: Child, others: list[int], signum: signal.Signals) -> None:
        processes.kill_group(child.pid, signum)
        for pid in others:
            processes.kill(pid, signum)

    def _end_all(self, grace_s: float) -> None:
        deadline = time.monotonic() + grace_s
        self._deadline = deadline if self._deadline is None else min(deadline, self._deadline)
        self._signal_all(signal.SIGTERM)

    def _signal_all(self, signum: signal.Signals) -> None:
        for pid in self._children:
            processes.kill_group(pid, signum)
        self._signal_strays(signum, of_running_jobs=True)

    def _signal_strays(self, signum: signal.Signals, *, of_running_jobs: bool) -> None:
        """Signal what jobs left behind."""
        running = {child.job for child in self._children.values()} | self._lingering.keys()
        for job, pids in self._strays().items():
            if of_running_jobs or job not in running:
                for pid in pids:
                    processes.kill(pid, signum)

    def _strays(self) -> dict[str | None, list[int]]:
        return strays_of(self._children, None if self._guard is None else self._guard.pid)

    def send(self, **frame: Any) -> None:
        # A pilot that is gone is noticed by _read; what it can't be told any more is lost with it.
        with contextlib.suppress(OSError):
            self._sock.sendall(encode(frame))


_NUMBER = (int, float)
_FIELDS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "start": {"id": str, "argv": list, "cwd": str, "log": str, "env": dict, "cpus": list, "tmpdir": str},
    "end": {"ids": list, "grace_s": _NUMBER},
    "stop": {"grace_s": _NUMBER},
    "lease": {"until": _NUMBER},
}
"""What a launcher acts on, by the frame's `op`. A child that finds fault with the rest tells so in its log."""


def _checked(frame: Frame) -> Frame:
    """Raises FrameError where the frame is not as a pilot sends it."""
    for name, kind in _FIELDS.get(frame["op"], {}).items():
        if not isinstance(frame.get(name), kind):
            raise FrameError(f"{frame['op']} without a proper {name}")
    bounds = frame.get("bounds", [])
    if (
        not isinstance(bounds, list)
        or len(bounds) > 5
        or not all(isinstance(one, (*_NUMBER, NoneType)) for one in bounds)
    ):
        raise FrameError("bounds that are no numbers")
    return frame


def enter_job(frame: Frame) -> None:
    """In a forked child: a session, streams, the working directory and CPUs as a job has them.

    Raises OSError where the log or the working directory can't be opened.
    """
    os.setsid()
    processes.die_with_parent()
    stdin = os.open(os.devnull, os.O_RDONLY)
    log = os.open(frame["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for source, target in ((stdin, 0), (log, 1), (log, 2)):
        os.dup2(source, target)  # clears close-on-exec
    os.close(stdin)
    os.close(log)
    os.chdir(frame["cwd"])
    if cpus := frame["cpus"]:
        os.sched_setaffinity(0, cpus)
    if "shown_mb" in frame:
        processes.show_memory(os.getpid(), frame["shown_mb"])


def not_started(error: BaseException) -> NoReturn:
    """In a forked child: leave a word in the log and end."""
    with contextlib.suppress(OSError):
        os.write(2, f"daskjq: the job could not be started: {error}\n".encode())
    os._exit(127)


def _benchmark(child: Child) -> Frame:
    """What a benchmarked job has measured."""
    if child.records is None:
        return {}
    with child.records as records:
        records.seek(0)
        return {"benchmark": records.read().decode("ascii", "replace")}


def _has_ended(pid: int) -> bool:
    """Whether a child has ended; it is not reaped."""
    with contextlib.suppress(ChildProcessError):
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    return True


def _ended_children() -> Iterator[int]:
    """The process ids of ended children, not yet reaped."""
    with contextlib.suppress(ChildProcessError):
        while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            yield ended.si_pid


def crash(sock: socket.socket, error: BaseException) -> NoReturn:
    """End a launcher with an error of its own, which the pilot tells of, too."""
    traceback.print_exception(error)
    with contextlib.suppress(OSError):
        sock.sendall(encode({"op": "crashed", "why": repr(error)}))
    os._exit(1)


def main() -> None:
    processes.die_with_parent(signal.SIGCONT)  # a launcher that is stopped can't see that its pilot has died
    sock = socket.socket(fileno=int(sys.argv[1]))
    sock.set_inheritable(False)  # no job may hold it: it would hide the launcher's death, and could speak on it
    gc.freeze()
    try:
        Launcher(sock, guard=Guard.where_possible()).run()
    except Exception as error:
        crash(sock, error)


if __name__ == "__main__":
    main()
