"""Jobs on a real Slurm while everything around them is killed, stopped and cancelled at random times.

The times and victims come from a seed. `DASKJQ_CHAOS_JOBS` and `DASKJQ_CHAOS_SEED` choose a longer run and
another one; the default is short enough for CI.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator

import psutil
import pytest

from ..snakefiles import WITNESSED
from ..workflow import HOST, PILOT, Workflow
from .slurm import NODES, SlurmCluster

JOBS = int(os.environ.get("DASKJQ_CHAOS_JOBS", "100"))
STRIKES = JOBS // 8
SEED = int(os.environ.get("DASKJQ_CHAOS_SEED", "20261125"))
LEASE_S = 10
STOPPED_S = 35  # longer than it takes to notice: a pilot is lost after one and a half to three leases


class Chaos:
    """Does one bad thing after the other to a run. Processes are its own: they carry the run's mark."""

    def __init__(self, workflow: Workflow, slurm: SlurmCluster, seed: int) -> None:
        self.done: list[str] = []
        self._deck: list[Callable[[], bool]] = []
        self._workflow = workflow
        self._slurm = slurm
        self._random = random.Random(seed)
        self._stopped: list[tuple[float, psutil.Process]] = []
        self._down: list[tuple[float, str]] = []

    def strike(self) -> None:
        """Do the first thing of the deck that there is a victim for; each comes once before any comes again."""
        self._deck = self._deck or self._random.sample(self._deeds(), k=len(self._deeds()))
        for deed in self._deck:
            with contextlib.suppress(psutil.NoSuchProcess, subprocess.CalledProcessError):  # it ended by itself
                if deed():
                    self._deck.remove(deed)
                    return

    def _deeds(self) -> list[Callable[[], bool]]:
        return [
            self._cancel_a_pilot,
            self._kill_a_node,
            lambda: self._kill_one(HOST, "launcher"),
            lambda: self._kill_one(PILOT, "pilot"),
            self._stop_a_pilot,
        ]

    def mend(self, *, everything: bool = False) -> None:
        """Continue what has been stopped for long enough, and bring nodes back."""
        now = time.monotonic()
        for entry in [entry for entry in self._stopped if everything or entry[0] <= now]:
            self._stopped.remove(entry)
            with contextlib.suppress(psutil.NoSuchProcess):
                entry[1].resume()
        for back in [back for back in self._down if everything or back[0] <= now]:
            self._down.remove(back)
            self._slurm.start_node(back[1])

    def _cancel_a_pilot(self) -> bool:
        jobs = [job.job_id for job in self._slurm.queued_or_running()]
        if jobs:
            self._slurm.run("scancel", self._random.choice(jobs))
            self.done.append("cancelled a pilot")
        return bool(jobs)

    def _kill_a_node(self) -> bool:
        busy = {job.node for job in self._slurm.queued_or_running() if job.state == "RUNNING"}
        up = sorted(busy.intersection(NODES).difference(node for _, node in self._down))
        if not up or len(self._down) > 1:
            return False
        node = self._random.choice(up)
        self._slurm.kill_node(node)
        self._down.append((time.monotonic() + 3, node))
        self.done.append("killed a node")
        return True

    def _kill_one(self, module: str, what: str) -> bool:
        """Never the host of a stopped pilot: then none of the two could end what a job has put into other sessions."""
        stopped = {pilot.pid for _, pilot in self._stopped}
        found = [one for one in self._workflow.started_as(module) if one.ppid() not in stopped]
        if found:
            self._random.choice(found).kill()
            self.done.append(f"killed a {what}")
        return bool(found)

    def _stop_a_pilot(self) -> bool:
        found = self._workflow.started_as(PILOT)
        if not found or len(self._stopped) > 1:
            return False
        pilot = self._random.choice(found)
        pilot.suspend()
        self._stopped.append((time.monotonic() + STOPPED_S, pilot))
        self.done.append("stopped a pilot")
        return True


def wounded(workflow: Workflow) -> bool:
    """True where one more blow may be a job's third, after which it is rightly taken for the cause of them."""
    losses = Counter(event["key"] for event in workflow.journal("job_ended") if event["end"] == "lost")
    return max(losses.values(), default=0) >= 2


@pytest.fixture
def all_nodes(slurm: SlurmCluster) -> Iterator[None]:
    """Nodes that a test has killed are in use again afterwards."""
    yield
    slurm.wait_for_idle_nodes()


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("all_nodes")
def test_nothing_is_lost_and_nothing_runs_twice_at_a_time(workflow: Workflow, slurm: SlurmCluster) -> None:
    workflow.write(WITNESSED)
    options = ["--config", f"count={JOBS}", "random=1", "--daskjq-lease", f"{LEASE_S}s"]
    options += ["--daskjq-cores", "2", "--daskjq-memory", "1GB", "--daskjq-max-pilots", "5"]
    process = workflow.start("--jobs", "unlimited", *options)
    workflow.wait_for_line("tries/0")
    chaos = Chaos(workflow, slurm, SEED)
    when = random.Random(SEED)
    strike_at = time.monotonic()
    while process.poll() is None:
        if time.monotonic() >= strike_at and len(chaos.done) < STRIKES and not wounded(workflow):
            chaos.strike()
            strike_at = time.monotonic() + when.uniform(1.0, 3.0)
        chaos.mend()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
    chaos.mend(everything=True)

    assert process.returncode == 0, f"{chaos.done}\n{workflow.output[-4000:]}"
    assert [workflow.read(f"out/{i}.txt") for i in range(JOBS)] == [f"{i}\n" for i in range(JOBS)]
    assert not (workflow.folder / "overlaps").exists(), workflow.read("overlaps")
    submitted = workflow.journal("job_submitted")
    assert [event["attempt"] for event in submitted] == [1] * JOBS
    assert sorted(event["key"] for event in workflow.journal("job_reported") if event["success"]) == sorted(
        event["key"] for event in submitted
    )
    assert len(workflow.journal("pilot_lost")) > 1, chaos.done
    assert len(set(chaos.done)) == 5, chaos.done
