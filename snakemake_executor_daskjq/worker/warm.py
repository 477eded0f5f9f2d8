"""A warm rule host: Snakemake is imported, maybe the Snakefile parsed; each job is a fork of it.

`python -m ...worker.warm FD`. It serves one context (see `contexts`): the first frame is

    pilot -> host   open {level, argv, cwd, env, log, tmpdirs}
    host -> pilot   ready {pid}, or refused {why}: it can't serve at this level, and ends

and then those of `host`, with the difference that a job that must not use what was parsed is answered with

    host -> pilot   stale {id, why}
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import os
import signal
import socket
import sys
import tempfile
from typing import TYPE_CHECKING, NoReturn

from . import processes
from .copy_on_write import prepare_to_fork
from .frames import HEADER, Frame, body_length, decode, encode
from .host import HANDLED, Host, enter_job, not_started
from .parse_record import ParseRecord
from .scratch import remove_tree
from .shortcuts import set_handler
from .snakemake_internals import (
    ParsedWorkflow,
    Snakemake,
    UnexpectedSnakemakeError,
    finish_threads,
    reset_after_fork,
)

if TYPE_CHECKING:
    from collections.abc import Callable


class StaleError(Exception):
    """A job must not be started from what the host has parsed; the text says why."""


class _InChild(BaseException):
    """Raised in a forked child to leave the host's loop; carries the frame of its job."""

    def __init__(self, frame: Frame) -> None:
        super().__init__(frame["id"])
        self.frame = frame


_hosts: list[WarmHost] = []
"""The host: in a child, nothing may end it, for what it has open is closed, and its numbers are others' files."""


class WarmHost(Host):
    """Forks children that leave its loop by `_InChild` instead of an exec.

    `prepare` is called for each job before the fork: what the host does in its own memory takes a fraction of the
    time, for a child copies every page that it touches. It raises StaleError if the job must not be started here.
    """

    def __init__(self, sock: socket.socket, tmpdirs: str, prepare: Callable[[Frame], None] = lambda _: None) -> None:
        super().__init__(sock, tmpdirs)
        self._prepare = prepare
        _hosts.append(self)
        # A job has those of Python, or of its Snakefile. What a C library has set can't be put back.
        handlers = {signum: signal.getsignal(signum) for signum in HANDLED}
        self._jobs_handlers = {s: signal.SIG_DFL if handler is None else handler for s, handler in handlers.items()}

    def _start(self, frame: Frame) -> None:
        try:
            self._prepare(frame)
        except StaleError as error:
            self.send(op="stale", id=frame["id"], why=str(error))
        else:
            super()._start(frame)

    def _in_child(self, frame: Frame, _: object) -> NoReturn:
        try:
            signal.set_wakeup_fd(-1)
            for fd in self._descriptors():  # nothing execs here, so nothing else would close them
                os.close(fd)
            for signum, handler in self._jobs_handlers.items():
                set_handler(signum, handler)
            enter_job(frame)
            os.environ.update(frame["env"], **{processes.JOB_VARIABLE: frame["id"]})
            tempfile.tempdir = os.environ.get("TMPDIR")  # the host has found its own already
        except BaseException as error:
            not_started(error)
        raise _InChild(frame)


class PilotWatch:
    """While a host warms up it does not look at its socket: it ends when the kernel tells that the pilot has died.

    The kernel sends SIGCONT (see `main`). As at its usual end, the host leaves nothing in `tmpdirs`.
    """

    def __init__(self, tmpdirs: str) -> None:
        self._pilot = os.getppid()
        self._tmpdirs = tmpdirs
        signal.signal(signal.SIGCONT, self._look)

    def _look(self, *_: object) -> None:
        if os.getppid() != self._pilot:  # else the host was stopped, and goes on
            if self._tmpdirs:
                remove_tree(self._tmpdirs)
            processes.kill_group(os.getpid(), signal.SIGKILL)  # also what the Snakefile has started
            os._exit(1)

    def end(self) -> None:
        """Put the signal back, unless the Snakefile has taken it."""
        if signal.getsignal(signal.SIGCONT) == self._look:
            signal.signal(signal.SIGCONT, signal.SIG_DFL)


def serve(sock: socket.socket) -> None:
    """Serve the context that the first frame opens."""
    opening = _first_frame(sock)
    watch = PilotWatch(opening["tmpdirs"])
    os.environ.update(opening["env"])
    try:
        snakemake = Snakemake()
        snakemake.rehearse(opening["tmpdirs"])
    except UnexpectedSnakemakeError as error:
        refuse(sock, f"this Snakemake is not as expected: {error}")
    if opening["level"] == "import":
        prepare_to_fork()
        watch.end()
        try:
            WarmHost(sock, opening["tmpdirs"]).run()
        except _InChild as child:
            reset_after_fork()
            snakemake.main(child.frame["argv"])
    else:
        serve_parsed(sock, snakemake, opening, watch)


def serve_parsed(sock: socket.socket, snakemake: Snakemake, opening: Frame, watch: PilotWatch) -> None:
    """Parse the Snakefile as the first job would, and serve from there."""
    record = ParseRecord()

    def parsed(workflow: ParsedWorkflow) -> None:
        def prepare(frame: Frame) -> None:
            if change := record.change():
                raise StaleError(change)
            try:
                arguments = snakemake.job_arguments(frame["job_argv"])
            except UnexpectedSnakemakeError as error:
                raise StaleError(str(error)) from error
            sys.argv = [sys.argv[0], *frame["argv"]]
            workflow.become(arguments)

        record.stop()
        try:
            workflow.check()
        except UnexpectedSnakemakeError as error:
            workflow.close()
            refuse(sock, f"this Snakemake is not as expected: {error}")
        if workflow.uses_storage:
            record.add_doubt("uses storage providers")
        if processes.has_threads():
            record.add_doubt("starts threads")
        if record.doubt:
            workflow.close()
            refuse(sock, f"the Snakefile {record.doubt}")
        workflow.prepare()
        prepare_to_fork()
        watch.end()
        try:
            WarmHost(sock, opening["tmpdirs"], prepare).run()
        except _InChild:
            reset_after_fork()
            return
        workflow.close()
        os._exit(0)

    _log_to(opening["log"])
    os.chdir(opening["cwd"])
    snakemake.watch_cores(lambda: record.add_doubt("reads workflow.cores"))
    host = os.getpid()
    tempfile.gettempdir()  # it writes a file to see whether it can, the first time
    record.start()
    try:
        snakemake.main_until_parsed(opening["argv"], parsed)
    finally:
        if os.getpid() == host:  # it never came to the parsed workflow: let the job itself show why
            refuse(sock, "the Snakefile could not be parsed")


def refuse(sock: socket.socket, why: str) -> NoReturn:
    sock.sendall(encode({"op": "refused", "why": why}))
    os._exit(0)


def _first_frame(sock: socket.socket) -> Frame:
    """Exactly one frame: what follows belongs to the host's loop."""

    def read(count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = sock.recv(count - len(data))
            if not part:
                os._exit(0)  # the pilot is gone
            data += part
        return data

    return decode(read(body_length(read(HEADER.size))))


def _log_to(path: str) -> None:
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


def main() -> None:
    processes.die_with_parent(signal.SIGCONT)  # as in `host.main`, and see `PilotWatch`
    host = os.getpid()
    status = 0
    sock = socket.socket(fileno=int(sys.argv[1]))
    sock.set_inheritable(False)
    for signum in HANDLED:  # whatever the pilot was started with: as Python sets them in a job
        signal.signal(signum, signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL)
    try:
        serve(sock)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        error = sys.exc_info()[1]
        if error is not None:
            sys.excepthook(type(error), error, error.__traceback__)
            status = 1
        # A child ends here as Python ends after Snakemake's main, and must never go on as a host.
        if os.getpid() != host:
            with contextlib.suppress(BaseException):
                finish_threads()
                atexit._run_exitfuncs()
            write_out()
        os._exit(status)


def write_out() -> None:
    """In a child: write what is left in buffers, also in those of files that a rule left open.

    Python does so at its end, when it destroys all objects, of which most here are the host's.
    """
    left_open = processes.open_files() - {0, 1, 2}
    # Without the host's: those are frozen.
    objects = gc.get_objects() if left_open else ()
    files = [one for one in objects if type(one) in (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)]
    files.sort(key=lambda one: type(one) is not io.TextIOWrapper)  # these write to the others
    for stream in (*files, sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    if left_open:
        processes.flush_c_streams()


if __name__ == "__main__":
    main()
