"""Controllers that outlive runs: `daskjq start` has one with a name, `status` shows them, `stop` ends them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..config.settings import configure
from ..controller import names, protocol
from ..controller.door import RECORD, doors, knock, peer_of, remove, runs, silent
from ..controller.protocol import Begin
from ..errors import DaskjqError, SettingError
from ..executor.controller import Controller
from ..executor.peers import Own, answer, pass_by, swept
from ..frames import FrameError, encode
from ..journal.journal import RunFolder
from ..report.table import laid_out
from ..text import printable

if TYPE_CHECKING:
    import socket

    from ..config.settings import ExecutorSettings

STOP_S = 120.0
"""So long a controller may take to end all that it has."""

LOOK_S = 0.05


def _runs_already(name: str, host: str, file: Path) -> DaskjqError:
    down = "" if host == "this host" else f" If {host} is down, remove {file}."
    return DaskjqError(f"A controller {name} runs already on {host}: 'daskjq status {name}' shows it.{down}")


class _Says:
    """Prints what the controller says (a `controller.Hears`)."""

    def __init__(self) -> None:
        self.is_over = threading.Event()

    def jobs_ended(self, ends: list[protocol.Ended]) -> None:
        """It has no jobs."""

    def hear(self, level: str, text: str) -> None:
        print(f"daskjq: {printable(text)}", flush=True)

    def give_up(self, text: str) -> None:
        self.hear("warn", text)
        self.is_over.set()


def start(name: str, settings: ExecutorSettings, cores: int | None) -> int:
    """Have a controller of this name until a signal or `daskjq stop` ends it; returns the exit status.

    To its controller it is a run without jobs. Raises DaskjqError where it can't be.
    """
    if settings.scheduler is not None:
        raise SettingError("scheduler", settings.scheduler, "nothing for 'daskjq start', which has pilots of its own")
    config = configure(settings)
    base = names.folder_of(name)
    says = _Says()
    for path in doors(base / "runs"):
        try:
            knock(path).close()
            host = "this host"
        except OSError:
            host = pass_by(RunFolder(base, path.name), lambda text: says.hear("tell", text)) or ""
        if host:
            raise _runs_already(name, host, path / RECORD)
    folder = RunFolder(base)
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(signum) is not signal.SIG_IGN:  # as SIGHUP is under nohup
            signal.signal(signum, lambda *_: says.is_over.set())
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(base / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DaskjqError(f"A controller {name} is just being started, or runs already.") from None
        except OSError:  # a file system without locks
            pass
        controller = Controller(Own(config, cores, for_others=True), config.lease_s, says)
        pools = controller.pools()
        folder.create()
        controller.begin(Begin(folder.base, folder.name, str(Path.cwd()), dict(os.environ), listens=True), folder)
    except OSError as error:
        raise DaskjqError(folder.unwritable(error)) from None
    try:
        controller.dashboard()
        shapes = ", ".join(f"{pool.name} ({pool.system})" for pool in pools)
        print(f"daskjq: controller {name} has started; pools: {shapes}; its folder: {folder.shown}", flush=True)
        print(f"daskjq: 'snakemake --executor daskjq --daskjq-controller {name}' uses it, Ctrl-C ends it.", flush=True)
        says.is_over.wait()
        print("daskjq: ending jobs and pilots.", flush=True)
    finally:
        stopped = controller.stop(cancel=True)
    for line in stopped.lines:
        says.hear("tell", line)
    return 1 if controller.loss else 0


def status(log_folder: Path, name: str | None) -> list[str]:
    """What the controller of a name has; without one, all with names and those kept in a log folder: lines.

    Raises SettingError for what is no name.
    """
    if name is not None:
        bases = {f"controller {name}": names.folder_of(name)}
    else:
        bases = {f"controller {known}": names.folder_of(known) for known in names.names()}
        bases["kept controller"] = log_folder
    lines: list[str] = []
    for what, base in bases.items():
        for path in doors(base / "runs"):
            lines += [*_shown(f"{what}, of run {path.name}", path), ""]
    return lines[:-1] or [f"There is no controller {name or 'with a name, and none is kept in ' + str(log_folder)}."]


def _shown(what: str, path: Path) -> list[str]:
    try:
        with knock(path) as sock:
            pid = peer_of(sock).pid
            found = protocol.read_status(answer(sock, protocol.ASK_STATUS)[0])
    except (TypeError, KeyError):
        return [f"{what}: it has another version of daskjq"]
    except (OSError, FrameError, IndexError):
        record = silent(path)
        if record is None:
            return [f"{what}: it has died; '{names.stop_command(path)}' clears up"]
        where = f"process {record.pid} on {record.host}"
        return [f"{what}: {where}, {'which does not answer' if record.is_here else 'another host'}"]
    lines = [f"{what}: process {pid}, {len(found.pilots)} pilots, {len(found.runs)} runs"]
    now = time.time()
    if found.pilots:
        rows = [("pilot", "pool", "state", "host", "jobs", "ends in min")]
        for pilot in found.pilots:
            left = "-" if pilot.ends_at is None else f"{max(0.0, pilot.ends_at - now) / 60:.0f}"
            rows.append((pilot.name, pilot.pool, pilot.state, pilot.host or "-", str(pilot.jobs), left))
        lines += laid_out(rows).splitlines()
    if runs := [(run, one) for run, one in found.runs if run != path.name or one.running or one.waiting]:
        of_runs = [(run, str(one.running), str(one.waiting), str(one.cores)) for run, one in runs]
        lines += laid_out([("run", "jobs running", "waiting", "cores"), *of_runs]).splitlines()
    return lines


def stop(log_folder: Path, name: str | None) -> list[str]:
    """End the controller of a name, or those kept in a log folder, and wait for it; returns what to tell of each.

    Runs that use one fail. Raises DaskjqError where one does not end, or none is found.
    """
    told = []
    elsewhere = []
    if name is not None:
        log_folder = names.folder_of(name)
    for path in doors(log_folder / "runs"):
        folder = RunFolder(log_folder, path.name)
        try:
            sock = knock(path)
        except OSError:
            record = silent(path)
            if record is None:
                told.append(f"The controller of run {path.name} has died. {swept(folder)}")
                remove(path)
            elif record.is_here:
                raise _stuck(folder, record.pid, "does not answer") from None
            else:
                elsewhere.append(f"that of run {path.name} is on {record.host}")
            continue
        with sock:
            _stop(sock, folder)
        told.append(f"The controller of run {path.name} has ended, and all its pilots.")
    if not told:
        where = f" ({'; '.join(elsewhere)}: stop it there)" if elsewhere else ""
        if name is not None:
            raise DaskjqError(f"No controller {name} runs on this host{where}. 'daskjq status' shows what there is.")
        raise DaskjqError(
            f"No controller is kept in {log_folder} on this host{where}. --log-folder names another folder; "
            "'daskjq status' shows what there is, also by name."
        )
    return told


def _stop(sock: socket.socket, folder: RunFolder) -> None:
    """Raises DaskjqError where the controller does not end in time."""
    pid = peer_of(sock).pid
    until = time.monotonic() + STOP_S
    sock.settimeout(STOP_S)
    with contextlib.suppress(OSError):  # it may be ending already
        sock.sendall(encode(protocol.SHUT_DOWN))
        while sock.recv(4096):
            pass
    while runs(pid):
        if time.monotonic() > until:
            raise _stuck(folder, pid, f"has not ended in {STOP_S:.0f} s")
        time.sleep(LOOK_S)


def _stuck(folder: RunFolder, pid: int, what: str) -> DaskjqError:
    return DaskjqError(
        f"The controller of run {folder.name} (process {pid}) {what}. 'kill -9 {pid}' ends it, and its pilots end by "
        f"themselves then. Its log: {folder.controller_log}"
    )
