"""A warm launcher: Snakemake is imported, maybe the Snakefile parsed; each job is a fork of it.

`python -m ...launcher.fork_server FD`. It serves one context (see `contexts`): the first frame is

    pilot -> server   open {level, argv, cwd, env, tmpdirs}
    server -> pilot   ready {pid}, or refused {why, scope}: it can't serve at this level, and ends

and then those of `launcher`, with the difference that a job that must not use what was parsed is answered with

    server -> pilot   stale {id, why, scope}
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import tempfile
from typing import TYPE_CHECKING, Any, NoReturn

from ..frames import HEADER, Frame, body_length, decode, encode
from . import processes, python_internals
from .copy_on_write import prepare_to_fork
from .endings import end_as_python_does
from .launcher import HANDLED, Launcher, crash, enter_job, not_started
from .parse import Parse
from .scope import Scope
from .scratch import remove_tree
from .snakemake_internals import ParsedWorkflow, Snakemake, UnexpectedSnakemakeError, reset_after_fork

if TYPE_CHECKING:
    from collections.abc import Callable


class StaleError(Exception):
    """A job must not be started from what was parsed; the text says why, and `scope` for what that holds."""

    def __init__(self, why: str, scope: Scope) -> None:
        super().__init__(why)
        self.scope = scope


class _InChild(BaseException):
    """Raised in a forked child to leave the fork server's loop; carries the frame of its job."""

    def __init__(self, frame: Frame) -> None:
        super().__init__(frame["id"])
        self.frame = frame


_forked: list[ForkServer] = []
"""The fork server: in a child nothing may end it, for what it has open is closed there."""


class ForkServer(Launcher):
    """Forks children that leave its loop by `_InChild` instead of an exec.

    `prepare` is called for each job before the fork: what the fork server does in its own memory takes a fraction of
    the time, for a child copies every page that it touches. It raises StaleError if the job must not be started here.
    """

    def __init__(self, sock: socket.socket, tmpdirs: str, prepare: Callable[[Frame], None] = lambda _: None) -> None:
        super().__init__(sock, tmpdirs)
        self._prepare = prepare
        _forked.append(self)
        # A job has those of Python, or of its Snakefile. What a C library has set can't be put back.
        handlers = {signum: signal.getsignal(signum) for signum in HANDLED}
        self._jobs_handlers = {s: signal.SIG_DFL if handler is None else handler for s, handler in handlers.items()}

    def _start(self, frame: Frame) -> None:
        try:
            self._prepare(frame)
        except StaleError as error:
            self.send(op="stale", id=frame["id"], why=str(error), scope=error.scope)
        except Exception as error:  # whatever it is about this job, others run here
            self.send(op="stale", id=frame["id"], why=f"it can't be prepared: {error!r}", scope=Scope.JOB)
        else:
            super()._start(frame)

    def _in_child(self, frame: Frame, *_: object) -> NoReturn:
        try:
            signal.set_wakeup_fd(-1)
            for fd in self._descriptors():  # nothing execs here, so nothing else would close them
                os.close(fd)
            for signum, handler in self._jobs_handlers.items():
                python_internals.set_handler(signum, handler)
            enter_job(frame)
            for name in _own_variables:
                os.environ.pop(name, None)
            os.environ.update(frame["env"], **{processes.JOB_VARIABLE: frame["id"]})
            tempfile.tempdir = os.environ.get("TMPDIR")  # the fork server has found its own already
        except BaseException as error:
            not_started(error)
        raise _InChild(frame)


class PilotWatch:
    """While a fork server warms up it does not look at its socket: it ends when the kernel says that the pilot died.

    The kernel sends SIGCONT (see `main`). As at its usual end, the fork server leaves nothing in `tmpdirs`.
    """

    def __init__(self, tmpdirs: str) -> None:
        self._pilot = os.getppid()
        self._tmpdirs = tmpdirs
        signal.signal(signal.SIGCONT, self._look)

    def _look(self, *_: object) -> None:
        if os.getppid() != self._pilot:  # else the fork server was stopped, and goes on
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
    _own_variables.extend(opening["own_variables"])
    if lacking := python_internals.missing():
        refuse(sock, f"this Python is not as expected: no {lacking}", Scope.CONTEXT)
    try:
        snakemake = Snakemake()
        snakemake.rehearse(opening["tmpdirs"])
    except UnexpectedSnakemakeError as error:
        refuse(sock, f"this Snakemake is not as expected: {error}", Scope.CONTEXT)
    if opening["level"] == "import":
        _ready_to_fork(snakemake, watch)
        try:
            ForkServer(sock, opening["tmpdirs"]).run()
        except _InChild as child:
            reset_after_fork()
            snakemake.main(child.frame["argv"])
    else:
        serve_parsed(sock, snakemake, opening, watch)


_own_variables: list[str] = []
"""Variables that the pilot has set for a fork server alone: no job has them."""

_at_fork: list[tuple[dict[str, Any], dict[str, Any]]] = []
"""The names of Snakefiles, and a copy of what they were when the fork server began to fork."""


def _ready_to_fork(snakemake: Snakemake, watch: PilotWatch) -> None:
    prepare_to_fork()
    _at_fork.append((snakemake.names, dict(snakemake.names)))
    watch.end()


def serve_parsed(sock: socket.socket, snakemake: Snakemake, opening: Frame, watch: PilotWatch) -> None:
    """Parse the Snakefile as the first job would, and serve from there."""
    parse = Parse()
    restore_streams = _silence()
    has_been_parsed = False

    def parsed(workflow: ParsedWorkflow) -> None:
        nonlocal has_been_parsed
        has_been_parsed = True
        try:
            if why := _why_not(parse, workflow):
                workflow.close()
                refuse(sock, why, Scope.CONTEXT)
            workflow.prepare()
            _ready_to_fork(snakemake, watch)
            restore_streams()
            ForkServer(sock, opening["tmpdirs"], lambda frame: prepare(workflow, frame)).run()
        except _InChild:
            reset_after_fork()
            return
        except BaseException as error:  # Snakemake would take it for the workflow's
            restore_streams()
            workflow.close()
            crash(sock, error)
        workflow.close()
        os._exit(0)

    def prepare(workflow: ParsedWorkflow, frame: Frame) -> None:
        environment = frame["env"]
        if conflict := parse.conflict(environment.keys() - opening["env"].keys()):
            raise StaleError(f"the Snakefile {conflict}", Scope.CONTEXT)
        if change := parse.change():
            raise StaleError(change, Scope.PARSE)
        try:
            arguments = snakemake.job_arguments(frame["job_argv"])
        except UnexpectedSnakemakeError as error:
            raise StaleError(str(error), Scope.JOB) from error
        for name in parse.assigned & environment.keys():
            del environment[name]
        sys.argv = [sys.argv[0], *frame["argv"]]
        workflow.become(arguments)

    os.chdir(opening["cwd"])
    snakemake.watch_cores(lambda: parse.add_doubt("reads workflow.cores"))
    server = os.getpid()
    tempfile.gettempdir()  # it writes a file to see whether it can, the first time
    parse.start()
    try:
        snakemake.main_until_parsed(opening["argv"], parsed)
    finally:
        if os.getpid() == server and not has_been_parsed:  # let the job itself show why
            refuse(sock, "the Snakefile could not be parsed", Scope.NOW)


def _why_not(parse: Parse, workflow: ParsedWorkflow) -> str:
    """Why jobs can't be forked from a parsed workflow, or ""."""
    try:
        doubt = parse.judge(workflow)
        workflow.check()
    except UnexpectedSnakemakeError as error:
        return f"this Snakemake is not as expected: {error}"
    except Exception as error:  # an object that fails when it is looked at
        return f"what the Snakefile keeps can't be looked at: {error!r}"
    return f"the Snakefile {doubt}" if doubt else ""


def refuse(sock: socket.socket, why: str, scope: Scope) -> NoReturn:
    sock.sendall(encode({"op": "refused", "why": why, "scope": scope}))
    os._exit(0)


def _first_frame(sock: socket.socket) -> Frame:
    """Exactly one frame: what follows belongs to the fork server's loop."""

    def read(count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = sock.recv(count - len(data))
            if not part:
                os._exit(0)  # the pilot is gone
            data += part
        return data

    return decode(read(body_length(read(HEADER.size))))


def _silence() -> Callable[[], None]:
    """Have what the Snakefile prints go nowhere: it is no job's. Returns what puts the streams back, once."""
    streams = [(fd, os.dup(fd)) for fd in (1, 2)]
    null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    for fd, _ in streams:
        os.dup2(null, fd)
    os.close(null)

    def put_back() -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        processes.flush_c_streams()
        while streams:
            fd, kept = streams.pop()
            os.dup2(kept, fd)
            os.close(kept)

    return put_back


def main() -> None:
    processes.die_with_parent(signal.SIGCONT)  # as in `launcher.main`, and see `PilotWatch`
    server = os.getpid()
    status = 0
    sock = socket.socket(fileno=int(sys.argv[1]))
    sock.set_inheritable(False)
    for signum in HANDLED:  # whatever the pilot was started with: as Python sets them in a job
        signal.signal(signum, signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL)
    try:
        serve(sock)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException as error:
        if os.getpid() == server:
            crash(sock, error)
        sys.excepthook(type(error), error, error.__traceback__)
        status = 1
    finally:
        # A child ends here as Python ends after Snakemake's main, and must never go on as a fork server.
        if os.getpid() != server:
            with contextlib.suppress(BaseException):
                end_as_python_does(*_at_fork[-1])
        os._exit(status)


if __name__ == "__main__":
    main()
