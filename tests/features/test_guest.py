"""Jobs on the workers of a Dask scheduler that somebody else runs, and that stays as it was."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from distributed import Client, LocalCluster
from distributed.security import Security

from ..snakefiles import MANY, SLOW
from ..workflow import CONTROLLER, Workflow

feature = pytest.mark.feature


@pytest.fixture
def somebody() -> Iterator[Any]:
    """Another user's scheduler with two workers, and their client."""
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=2,
            memory_limit="1GB",
            resources={"licenses": 1},
            host="127.0.0.1",
            dashboard_address=None,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def pids(client: Any) -> dict[str, int]:
    found: dict[str, int] = client.run(os.getpid)
    return found


def in_folder(process: psutil.Process, folder: Path) -> bool:
    """Whether it is of a job: those have the workers' environment, and the workflow's working directory."""
    try:
        return process.cwd() == str(folder)
    except psutil.Error:
        return False


async def until(path: str) -> str:
    while not Path(path).exists():
        await asyncio.sleep(0.05)
    return "others' result"


@feature("--daskjq-scheduler tcp://", note="workers that are there run the jobs; others' tasks and the workers stay")
def test_jobs_run_on_anothers_workers_and_leave_them_alone(workflow: Workflow, somebody: Any) -> None:
    before = pids(somebody)
    others = somebody.submit(until, str(workflow.folder / "out" / "5.txt"), key="others")
    workflow.write(MANY)
    assert workflow.run("--jobs", "9", "--daskjq-scheduler", somebody.scheduler.address) == 0, workflow.output[-3000:]
    assert [workflow.read(f"out/{i}.txt") for i in range(6)] == [f"{i}\n" for i in range(6)]
    assert others.result(10) == "others' result"
    assert pids(somebody) == before
    assert set(somebody.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.tasks))) == {"others"}
    (started,) = workflow.journal("run_started")
    (pool,) = started["pools"].values()
    assert (pool["cores"], pool["mem_mb"], pool["others"], pool["max_pilots"]) == (2, 1000, {"licenses": 1}, 2)
    assert workflow.leftovers() == []


@feature("--daskjq-scheduler: a scheduler file; resources of its workers")
def test_a_scheduler_file_and_declared_resources(workflow: Workflow, somebody: Any) -> None:
    somebody.write_scheduler_file(str(workflow.folder / "scheduler.json"))
    workflow.write("""
        rule all:
            input: expand("{i}.txt", i=range(4))
        rule licensed:
            output: "{i}.txt"
            resources: licenses=1
            shell: "sleep 0.3; touch {output}"
    """)
    assert workflow.run("--jobs", "9", "--daskjq-scheduler", "scheduler.json") == 0, workflow.output[-3000:]
    spans: dict[str, list[tuple[float, float]]] = {}
    for event in workflow.journal("job_ended"):
        spans.setdefault(event["pilot"], []).append((event["started_at"], event["ended_at"]))
    assert len(spans) == 2
    for held in map(sorted, spans.values()):
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(held))


@feature("--daskjq-scheduler: an interrupt ends the run's jobs")
def test_an_interrupt_ends_the_jobs_and_no_worker(workflow: Workflow, somebody: Any) -> None:
    before = pids(somebody)
    workflow.write(SLOW)
    process = workflow.start("--jobs", "9", "--daskjq-scheduler", somebody.scheduler.address)
    workflow.wait_until(lambda: list(workflow.folder.glob("pid*")))
    process.terminate()
    assert process.wait(30) != 0
    written = [path.read_text() for path in workflow.folder.glob("pid*")]
    shells = [int(text) for text in written if text]  # a shell may have ended just before it wrote
    end = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in shells):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert pids(somebody) == before


@feature("--daskjq-scheduler: one that does not answer", cell="refused")
def test_a_scheduler_that_does_not_answer_is_told(workflow: Workflow) -> None:
    workflow.write(MANY)
    workflow.env["DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT"] = "2s"
    assert workflow.run("--jobs", "9", "--daskjq-scheduler", "tcp://127.0.0.1:9") == 1
    assert "(--daskjq-scheduler) does not answer" in workflow.output
    assert "Traceback" not in workflow.output


@feature("--daskjq-scheduler tls://", note="certificates are those of your Dask configuration")
def test_a_scheduler_with_tls(workflow: Workflow) -> None:
    security = Security.temporary()
    for name, text in (
        ("ca", security.tls_ca_file),
        ("cert", security.tls_client_cert),
        ("key", security.tls_client_key),
    ):
        (workflow.folder / f"{name}.pem").write_text(text)
    workflow.env |= {
        "DASK_DISTRIBUTED__COMM__TLS__CA_FILE": "ca.pem",
        "DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT": "cert.pem",
        "DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY": "key.pem",
    }
    workflow.write(MANY)
    with LocalCluster(n_workers=1, threads_per_worker=1, security=security, dashboard_address=None) as cluster:
        assert cluster.scheduler_address.startswith("tls://")
        assert workflow.run("--jobs", "9", "--daskjq-scheduler", cluster.scheduler_address) == 0, workflow.output[
            -3000:
        ]


@feature("--daskjq-scheduler: what others' tasks use now is left to them; GPUs that workers declare")
def test_jobs_take_what_others_leave(workflow: Workflow) -> None:
    """A worker of 4 threads and 2 GPUs, of which somebody's tasks hold two and one until the end."""
    workflow.write("""
        rule all:
            input: expand("gpu{i}", i=range(3)), expand("cores{i}", i=range(3))
        rule gpu:
            output: "gpu{i}"
            resources: gpu=1
            shell: "sleep 0.5; touch {output}"
        rule cores:
            output: "cores{i}"
            threads: 2
            shell: "sleep 0.5; touch {output}"
    """)
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=4,
            resources={"GPU": 2},
            host="127.0.0.1",
            dashboard_address=None,
        ) as cluster,
        Client(cluster) as client,
    ):
        enough = str(workflow.folder / "enough")
        others = [client.submit(until, enough, key=f"others-{gpus}", resources={"GPU": gpus}) for gpus in (0, 1)]
        while set(client.run(lambda dask_worker: len(dask_worker.state.executing)).values()) != {2}:
            time.sleep(0.05)
        assert workflow.run("--jobs", "9", "--daskjq-scheduler", client.scheduler.address) == 0, workflow.output[-3000:]
        # Two cores and a GPU are left: never two jobs at a time are on the worker, be it only to wait there.
        happened = [event["event"] for event in workflow.journal("job_placed", "job_ended")]
        assert happened == ["job_placed", "job_ended"] * 6
        (workflow.folder / "enough").touch()
        assert [task.result(10) for task in others] == ["others' result"] * 2
        (started,) = workflow.journal("run_started")
        assert [pool["others"] for pool in started["pools"].values()] == [{"gpu": 2}]


@pytest.mark.parametrize("gpus", [0, 0.5])
def test_workers_with_no_gpu_or_a_part_of_one_run_what_fits_them(workflow: Workflow, gpus: float) -> None:
    workflow.write("""
        rule all:
            input: "plain", *(["half"] if config["half"] else [])
        rule plain:
            output: "plain"
            shell: "touch {output}"
        rule half:
            output: "half"
            resources: gpu="0.5"
            shell: "touch {output}"
        rule whole:
            output: "whole"
            resources: gpu=1
            shell: "touch {output}"
    """)
    with LocalCluster(
        n_workers=1, threads_per_worker=2, resources={"GPU": gpus}, host="127.0.0.1", dashboard_address=None
    ) as cluster:
        options = ("--jobs", "9", "--daskjq-scheduler", cluster.scheduler_address, "--config", f"half={int(gpus > 0)}")
        assert workflow.run(*options, timeout=60) == 0, workflow.output[-3000:]
        (started,) = workflow.journal("run_started")
        assert [pool["others"] for pool in started["pools"].values()] == [
            {"gpu": 0} if not gpus else {"gpu_percent": 50}
        ]
        assert workflow.run("whole", *options, timeout=60) == 1
        assert f"Rule whole asks for gpu=1, but the largest pilot offers {gpus:g}" in workflow.output


@feature("--daskjq-scheduler: kill -9 of Snakemake")
@pytest.mark.parametrize("killed", ["snakemake", "controller", "both"])
def test_a_killed_run_leaves_no_job_on_anothers_workers(workflow: Workflow, somebody: Any, killed: str) -> None:
    before = pids(somebody)
    others = somebody.submit(until, str(workflow.folder / "go"), key="others")
    workflow.write(SLOW)
    process = workflow.start("--jobs", "9", "--daskjq-scheduler", somebody.scheduler.address, "--daskjq-lease", "10s")
    workflow.wait_until(lambda: list(workflow.folder.glob("pid*")))
    controller = workflow.only(CONTROLLER)
    if killed != "controller":
        process.kill()
    if killed != "snakemake":
        controller.kill()
    killed_at = time.monotonic()
    process.wait(30)
    while left := [process for process in psutil.process_iter() if in_folder(process, workflow.folder)]:
        assert time.monotonic() < killed_at + 10 + 2 + 5 + 2, left  # lease, the time between two looks, grace
        time.sleep(0.05)
    assert set(somebody.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.tasks))) == {"others"}
    (workflow.folder / "go").touch()
    assert others.result(10) == "others' result"
    assert pids(somebody) == before
