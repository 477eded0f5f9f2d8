"""Runs real workflows with real `snakemake` processes, and finds what they leave behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from snakemake_executor_daskjq.journal import journal

from .processes import kill, started_with

MARK = "DASKJQ_TEST_RUN"

KEEP_LOGS = "--daskjq-keep-successful-logs"

CONTROLLER = "snakemake_executor_daskjq.controller"
PILOT = "snakemake_executor_daskjq.pilot.process"
HOST, WARM_HOST = "snakemake_executor_daskjq.launcher.launcher", "snakemake_executor_daskjq.launcher.fork_server"
"""The modules that processes are started as; of launchers, the one of commands and the one that forks."""


class Workflow:
    """A Snakefile in a folder of its own, run as a user would."""

    def __init__(self, folder: Path, *options: str, env: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.options = options
        self.mark = uuid.uuid4().hex
        self.ignored_signals: tuple[signal.Signals, ...] = ()
        self.env = {**os.environ, MARK: self.mark, **(env or {})}

    def write(self, snakefile: str, name: str = "Snakefile") -> Workflow:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(snakefile))
        return self

    def start(self, *arguments: str, executor: str = "daskjq") -> subprocess.Popen[str]:
        """Start snakemake in a session of its own; its output goes to `output.txt`."""
        command = [sys.executable, "-m", "snakemake", "--nocolor", *(["--executor", executor] if executor else [])]
        return self.start_command(*command, *(self.options if executor == "daskjq" else ()), *arguments)

    def start_command(self, *command: str) -> subprocess.Popen[str]:
        with (self.folder / "output.txt").open("w") as output:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
                preexec_fn=self._set_signals,
            )

    def run(self, *arguments: str, executor: str = "daskjq", timeout: float = 240) -> int:
        """Run snakemake to its end; returns its exit status."""
        arguments = arguments or ("--jobs", "100")
        process = self.start(*arguments, executor=executor)
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"snakemake did not end in {timeout} s:\n{self.output[-4000:]}") from None

    def _set_signals(self) -> None:
        """As a shell in the foreground has them; in the background or under nohup, tests have some ignored."""
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, signal.SIG_IGN if signum in self.ignored_signals else signal.SIG_DFL)

    @property
    def output(self) -> str:
        return (self.folder / "output.txt").read_text(errors="replace")

    def read(self, name: str) -> str:
        return (self.folder / name).read_text()

    @property
    def run_folders(self) -> list[Path]:
        return sorted((self.folder / ".snakemake" / "daskjq" / "runs").glob("*"))

    def journal(self, *names: str) -> list[dict[str, Any]]:
        """The events of the last run, or those with the given names."""
        path = self.run_folders[-1] / "journal.jsonl"
        events = list(journal.read(path)) if path.exists() else []
        return [event for event in events if not names or event["event"] in names]

    def wait_for(self, *names: str) -> None:
        """Wait until all these files exist."""
        self.wait_until(lambda: all((self.folder / name).exists() for name in names))

    def wait_for_line(self, *names: str) -> None:
        """Wait until each of these files has a whole line: one may be there before its writer has written."""
        paths = [self.folder / name for name in names]
        self.wait_until(lambda: all(path.exists() and path.read_text().endswith("\n") for path in paths))

    def wait_until(self, condition: Callable[[], object], timeout: float = 60) -> None:
        """Wait for what other processes do to files, which nothing announces."""
        end = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < end, f"nothing came in {timeout} s:\n{self.output[-4000:]}"
            time.sleep(0.02)

    def processes(self) -> list[psutil.Process]:
        """Every live process that this workflow's snakemake started, however far down."""
        return started_with({MARK: self.mark})

    def started_as(self, module: str) -> list[psutil.Process]:
        """Those that were started as this module, oldest first; jobs, forks of their launcher, are not among them."""
        found = []
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):  # others come and go meanwhile
                command, parent = process.cmdline(), process.parent()
                if module in command and (parent is None or parent.cmdline() != command):
                    found.append(process)
        return sorted(found, key=lambda process: (process.create_time(), process.pid))

    def only(self, module: str) -> psutil.Process:
        """The one that was started as this module."""
        (process,) = self.started_as(module)
        return process

    @property
    def host(self) -> psutil.Process:
        """The launcher of its jobs, at the level at which they start."""
        forks = self.env.get("SNAKEMAKE_DASKJQ_WARM_START") in ("workflow", "import")
        return self.only(WARM_HOST if forks else HOST)

    def crash(self) -> None:
        """End all at once, as when the machine goes down: nobody is left to remove a file."""
        kill(self.processes())

    def leftovers(self, timeout: float = 10) -> list[str]:
        """What still runs after `timeout` seconds, ended here so that other tests are not disturbed."""
        end = time.monotonic() + timeout
        while (left := self.processes()) and time.monotonic() < end:
            time.sleep(0.05)
        described = []
        for process in left:
            with suppress(psutil.NoSuchProcess):
                described.append(" ".join(process.cmdline()))
        kill(left)
        return described
