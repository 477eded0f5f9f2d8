"""A real Slurm on this machine for tests: munged, slurmctld and four slurmd, on loopback, in one folder.

Nothing outside the folder is changed, so several can run side by side, and beside an installed Slurm.
`python -m tests.batch.slurm` keeps one running for a developer.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ..processes import kill, started_with

NODES = ("n1", "n2", "n3", "n4")
CPUS = 4
MEMORY_MIB = 4000

CONF = """\
ClusterName=daskjq
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld_port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CryptoType=crypto/munge
MpiDefault=none
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdSpoolDir={folder}/spool-%n
TmpFS={folder}/tmp-%n
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
ReturnToService=2
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SchedulerParameters=sched_interval=1,bf_interval=2
SlurmctldTimeout=30
SlurmdTimeout=20
KillWait=5
MessageTimeout=60
MinJobAge=86400
NodeName={nodes} NodeHostname={host} NodeAddr=127.0.0.1 Port={node_ports} CPUs={cpus} RealMemory={memory}
PartitionName=main Nodes=ALL Default=YES MaxTime=60 State=UP
PartitionName=short Nodes=ALL MaxTime=5 State=UP
"""


@dataclass(frozen=True, slots=True)
class SlurmJob:
    """One line of Slurm's own record of a job."""

    job_id: str
    name: str
    state: str
    reason: str
    partition: str
    cpus: int
    memory: str
    time_limit: str
    node: str


class SlurmCluster:
    """Brings the daemons up as children of this process, and ends them by their process ids."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="daskjq-slurm-", dir="/tmp"))
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def env(self) -> dict[str, str]:
        """What makes Slurm's commands use this cluster."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def __enter__(self) -> Self:
        try:
            self._configure()
            self._start_munge()
            self._start("slurmctld", "slurmctld", "-D")
            for node in NODES:
                self._start(node, "slurmd", "-D", "-N", node)
            self.wait_for_idle_nodes()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    # -- what tests ask and do ---------------------------------------------------------------------------

    def run(self, *command: str) -> str:
        """The output of a Slurm command."""
        return subprocess.run(
            command, env={**os.environ, **self.env}, capture_output=True, text=True, check=True, timeout=90
        ).stdout

    def jobs(self) -> list[SlurmJob]:
        """Every job that this cluster has ever seen, from slurmctld's own records."""
        listing = self.run("scontrol", "--oneliner", "show", "jobs")
        return [_job(line) for line in listing.splitlines() if line.startswith("JobId=")]

    def queued_or_running(self) -> list[SlurmJob]:
        live = {"PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED"}
        return [job for job in self.jobs() if job.state in live]

    def kill_node(self, node: str) -> None:
        """A node failure: slurmd and all that it started are gone at once."""
        daemon = self._daemons.pop(node)
        daemon.kill()
        daemon.wait()
        self._kill_jobs_of(node)

    def start_node(self, node: str) -> None:
        self._start(node, "slurmd", "-D", "-N", node)
        self._wait(f"{node} to come back", lambda: self.run("sinfo", "-hn", node, "-o", "%T").split()[:1] != ["down*"])

    def leftovers(self) -> list[SlurmJob]:
        """Jobs that nobody has ended; returns once those that are ending have ended."""
        left = [job for job in self.queued_or_running() if job.state != "COMPLETING"]
        self._wait("jobs to end", lambda: len(self.queued_or_running()) <= len(left))
        return left

    def wait_for_idle_nodes(self) -> None:
        """All nodes, in both partitions."""
        idle = 2 * len(NODES)
        self._wait("all nodes to be idle", lambda: self.run("sinfo", "-hNo", "%T").split().count("idle") >= idle)

    # -- start and end ---------------------------------------------------------------------------------------

    def _configure(self) -> None:
        self.folder.chmod(0o755)  # munge's clients have to reach its socket
        (self.folder / "state").mkdir()
        for node in NODES:
            (self.folder / f"tmp-{node}").mkdir()  # PMIx has its files there, by job: nodes must not share them
        ports = free_ports(1 + len(NODES))
        # Slurm pairs host and port lists by position.
        conf = CONF.format(
            host=socket.gethostname(),
            folder=self.folder,
            ctld_port=ports[0],
            nodes=",".join(NODES),
            node_ports=",".join(map(str, ports[1:])),
            cpus=CPUS,
            memory=MEMORY_MIB,
        )
        (self.folder / "slurm.conf").write_text(conf)

    def _start_munge(self) -> None:
        """munged insists on folders and files of its own user that nobody else can write."""
        folder = self.folder / "munge"
        folder.mkdir(mode=0o755)
        key = folder / "key"
        key.touch(mode=0o400)
        key.write_bytes(secrets.token_bytes(128))
        munge = pwd.getpwnam("munge")
        for path in (folder, key):
            os.chown(path, munge.pw_uid, munge.pw_gid)
        options = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        arguments = [f"--{option}={folder / name}" for option, name in options.items()]
        with (self.folder / "munged.out").open("wb") as output:
            self._daemons["munged"] = subprocess.Popen(
                ["munged", "--foreground", *arguments],
                user=munge.pw_uid,
                group=munge.pw_gid,
                extra_groups=[],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._wait("munged", (folder / "socket").exists)

    def _start(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as output:
            self._daemons[name] = subprocess.Popen(
                command,
                env={**os.environ, **self.env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def _wait(self, what: str, condition: object, timeout: float = 60) -> None:
        """Slurm announces nothing: ask until it is so."""
        assert callable(condition)
        end = time.monotonic() + timeout
        while True:
            try:
                if condition():
                    return
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
                pass  # slurmctld is not up yet, or busy
            dead = [name for name, daemon in self._daemons.items() if daemon.poll() is not None]
            if dead or time.monotonic() > end:
                raise RuntimeError(f"waited for {what}; ended: {dead}\n{self._log_tails()}")
            time.sleep(0.1)

    def _stop(self) -> None:
        if "slurmctld" in self._daemons and self._daemons["slurmctld"].poll() is None:
            live = self.queued_or_running()
            if live:
                self.run("scancel", *(job.job_id for job in live))
                self._wait("jobs to end", lambda: not self.queued_or_running())
        for name in (*NODES, "slurmctld", "munged"):
            daemon = self._daemons.pop(name, None)
            if daemon is not None:
                daemon.terminate()
                try:
                    daemon.wait(10)
                except subprocess.TimeoutExpired:
                    daemon.kill()
                    daemon.wait()
        for node in NODES:
            self._kill_jobs_of(node)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _kill_jobs_of(self, node: str) -> None:
        """End each slurmstepd of a node, which leave their slurmd, with all that they started and that starts now."""
        mine = {"SLURM_CONF": self.env["SLURM_CONF"], "SLURMD_NODENAME": node}
        while found := started_with(mine):
            kill(found)

    def _log_tails(self) -> str:
        logs = sorted([*self.folder.glob("*.log"), *self.folder.glob("*.out"), self.folder / "munge" / "log"])
        return "\n".join(f"{log.name}: {log.read_text(errors='replace')[-800:]}" for log in logs if log.exists())


def _job(line: str) -> SlurmJob:
    fields = dict(re.findall(r"(\S+?)=(\S*)", line))
    memory = re.search(r"mem=([^,]+)", fields.get("TRES", ""))
    return SlurmJob(
        job_id=fields["JobId"],
        name=fields["JobName"],
        state=fields["JobState"],
        reason=fields["Reason"],
        partition=fields["Partition"],
        cpus=int(fields["NumCPUs"].partition("-")[0]),
        memory=memory.group(1) if memory else "",
        time_limit=fields["TimeLimit"],
        node=fields.get("NodeList", ""),
    )


def free_ports(count: int) -> list[int]:
    """Ports that nobody has, and that the kernel gives to nobody who asks for any port."""
    lowest_given = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports: list[int] = []
    for port in random.sample(range(10000, lowest_given), lowest_given - 10000):
        with socket.socket() as free, contextlib.suppress(OSError):
            free.bind(("127.0.0.1", port))
            ports.append(port)
        if len(ports) == count:
            return ports
    raise RuntimeError(f"found only {len(ports)} free ports between 10000 and {lowest_given}")


if __name__ == "__main__":
    ends = {signal.SIGINT, signal.SIGTERM}
    with SlurmCluster() as cluster:
        signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # not before: the daemons would inherit it
        print(f"export SLURM_CONF={cluster.env['SLURM_CONF']}", flush=True)
        signal.sigwait(ends)
