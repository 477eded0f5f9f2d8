"""A real Grid Engine on this machine for tests: sge_qmaster and sge_execd on free ports, in one folder.

Nothing outside the folder is changed, so several can run side by side, and beside an installed one.
`python -m tests.batch.grid_engine` keeps one running for a developer.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

import psutil

from ..processes import kill, started_with
from ..workflow import MARK
from .slurm import free_ports

SLOTS = 8
INSTALLED = Path("/var/lib/gridengine")

BOOTSTRAP = """\
admin_user              none
default_domain          none
ignore_fqdn             true
spooling_method         berkeleydb
spooling_lib            libspoolb
spooling_params         {folder}/spooldb
binary_path             /usr/sbin
qmaster_spool_dir       {folder}/qmaster
security_mode           none
listener_threads        2
worker_threads          2
scheduler_threads       1
"""

ENVIRONMENT = """\
pe_name smp
slots 999
user_lists NONE
xuser_lists NONE
start_proc_args NONE
stop_proc_args NONE
allocation_rule $pe_slots
control_slaves FALSE
job_is_first_task TRUE
urgency_slots min
accounting_summary FALSE
qsort_args NONE
"""

REPORTING = (
    "accounting=true reporting=false flush_time=00:00:01 accounting_flush_time=00:00:00 joblog=false sharelog=00:00:00"
)


class GridEngine:
    """Brings the daemons up, which leave their parent, and ends them by their process ids."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="daskjq-sge-", dir="/tmp"))
        self._host = socket.gethostname()
        self._qmaster_port, self._execd_port = map(str, free_ports(2))

    @property
    def env(self) -> dict[str, str]:
        """What makes Grid Engine's commands use this cell."""
        return {
            "SGE_ROOT": str(self.folder / "root"),
            "SGE_CELL": "default",
            "SGE_QMASTER_PORT": self._qmaster_port,
            "SGE_EXECD_PORT": self._execd_port,
            "SGE_SINGLE_LINE": "1",
        }

    def __enter__(self) -> Self:
        try:
            self._lay_out()
            self._daemon("sge_qmaster")
            self._wait("sge_qmaster", lambda: self.run("qconf", "-sh"))
            self._configure()
            self._daemon("sge_execd")
            self._wait("sge_execd", lambda: self.run("qconf", "-sel"))
            self._add_queue()
            self._wait("the queue", lambda: self.run("qhost", "-q").count("main.q") and " - " not in self._host_line())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @property
    def passed_on(self) -> str:
        """A directive for what jobs need of the tests' environment: by themselves they inherit nothing of it."""
        return "-v " + ",".join(name for name in (MARK, "PYTHONPATH") if name == MARK or name in os.environ)

    # -- what tests ask and do ---------------------------------------------------------------------------

    def run(self, *command: str) -> str:
        """The output of a command of Grid Engine."""
        return subprocess.run(
            command, env={**os.environ, **self.env}, capture_output=True, text=True, check=True, timeout=30
        ).stdout

    def jobs(self) -> dict[str, str]:
        """The state of each job that is listed, by id."""
        lines = [line.split() for line in self.run("qstat", "-u", "*").splitlines()]
        return {columns[0]: columns[4] for columns in lines if columns and columns[0].isdecimal()}

    def account(self, job: str) -> dict[str, str]:
        """The accounting record of a job that has ended; empty until it is written."""
        with suppress(subprocess.CalledProcessError):
            return dict(re.findall(r"(?m)^(\w+) +(.*?) *$", self.run("qacct", "-j", job)))
        return {}

    def leftovers(self) -> dict[str, str]:
        """Jobs that nobody has ended; returns once those that are ending have ended."""
        end = time.monotonic() + 15
        while (jobs := self.jobs()) and time.monotonic() < end:
            time.sleep(0.2)
        if jobs:
            self.run("qdel", "-f", *jobs)
        return jobs

    # -- start and end ---------------------------------------------------------------------------------------

    def _lay_out(self) -> None:
        self.folder.chmod(0o755)
        common = self.folder / "root" / "default" / "common"
        for folder in (common, *(self.folder / name for name in ("qmaster/job_scripts", "spooldb", "execd", "in"))):
            folder.mkdir(parents=True)
        for name in ("util", "bin", "lib", "utilbin"):
            (self.folder / "root" / name).symlink_to(INSTALLED / name)
        (common / "bootstrap").write_text(BOOTSTRAP.format(folder=self.folder))
        (common / "act_qmaster").write_text(f"{self._host}\n")
        (common / "host_aliases").write_text(f"{self._host} localhost\n")  # 127.0.0.1 looked up backwards is localhost
        arguments = [str(self.folder / "root"), "default", str(self.folder / "spooldb"), "root"]
        self.run("/usr/share/gridengine/scripts/init_cluster", *arguments)

    def _daemon(self, name: str) -> None:
        """The daemons close what they inherit and go to the background; their environment reaches the jobs."""
        path = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
        subprocess.run([name], env={**path, **self.env}, check=True, timeout=60, stdin=subprocess.DEVNULL)

    def _configure(self) -> None:
        self.run("qconf", "-as", self._host)
        settings = {
            "execd_spool_dir": str(self.folder / "execd"),
            "mailer": "/bin/true",
            "load_report_time": "00:00:01",
            "login_shells": "none",  # what a profile starts there may be killed half-way, and hold up the next one
            "reporting_params": REPORTING,
            "min_uid": "0",  # root may submit
            "min_gid": "0",
        }
        self._change("-sconf", "-Mconf", "global", settings)
        settings = {"schedule_interval": "0:0:1", "flush_submit_sec": "1", "flush_finish_sec": "1"}
        self._change("-ssconf", "-Msconf", "sched", {**settings, "job_load_adjustments": "none"})
        self._give("-Ap", "smp", ENVIRONMENT)

    def _add_queue(self) -> None:
        queue = {"qname": "main.q", "hostlist": self._host, "load_thresholds": "NONE", "slots": str(SLOTS)}
        self._change("-sq", "-Aq", "queue", {**queue, "pe_list": "smp"})

    def _change(self, show: str, put: str, name: str, settings: dict[str, str]) -> None:
        """Give the system its own words back with other values."""
        lines = [line for line in self.run("qconf", show).splitlines() if line.strip() and not line.startswith("#")]
        kept = [line for line in lines if line.split()[0] not in settings]
        self._give(put, name, "\n".join([*kept, *(f"{key} {value}" for key, value in settings.items()), ""]))

    def _give(self, option: str, name: str, text: str) -> None:
        path = self.folder / "in" / name
        path.write_text(text)
        self.run("qconf", option, str(path))

    def _host_line(self) -> str:
        lines = [line for line in self.run("qhost").splitlines() if line.startswith(self._host.partition(".")[0])]
        return lines[0] if lines else " - "

    def _wait(self, what: str, condition: object, timeout: float = 30) -> None:
        """Grid Engine announces nothing: ask until it is so."""
        assert callable(condition)
        end = time.monotonic() + timeout
        while True:
            with suppress(subprocess.CalledProcessError):  # it is not up yet
                if condition():
                    return
            if time.monotonic() > end:
                raise RuntimeError(f"waited for {what}\n{self._log_tails()}")
            time.sleep(0.1)

    def _stop(self) -> None:
        pids = [self.folder / "qmaster" / "qmaster.pid", *self.folder.glob("execd/*/execd.pid")]
        daemons = []
        for path in pids:
            with suppress(OSError, ValueError, psutil.NoSuchProcess):
                daemons.append(psutil.Process(int(path.read_text())))
        kill(daemons)  # sge_qmaster would take 8 s for TERM
        psutil.wait_procs(daemons, 10)
        while found := started_with({"SGE_ROOT": self.env["SGE_ROOT"]}):  # shepherds, and what they started
            kill(found)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _log_tails(self) -> str:
        logs = [*self.folder.glob("qmaster/messages"), *self.folder.glob("execd/*/messages")]
        return "\n".join(f"{log.name}: {log.read_text(errors='replace')[-800:]}" for log in logs)


if __name__ == "__main__":
    ends = {signal.SIGINT, signal.SIGTERM}
    with GridEngine() as cell:
        signal.pthread_sigmask(signal.SIG_BLOCK, ends)
        print(*(f"export {name}={value}" for name, value in cell.env.items()), sep="\n", flush=True)
        signal.sigwait(ends)
