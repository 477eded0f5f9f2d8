"""A rule whose Dask workers are jobs on pilots of several nodes, on a real Slurm."""

from __future__ import annotations

import signal
from collections import Counter

from ..workflow import Workflow
from .slurm import SlurmCluster

SNAKEFILE = """
    rule all:
        input: expand("{name}.sum", name=config["names"].split("-")), expand("{n}.other", n=range(8))
    rule sums:
        output: "{name}.sum"
        resources: mem_mb=400, dask_workers=config["count"], dask_workers_min=config["count"], dask_worker_mem_mb=400
        script: "sums.py"
    rule other:
        output: "{n}.other"
        shell: "echo {wildcards.n} > {output}"
"""
SCRIPT = """
    import time
    from pathlib import Path
    from snakemake_executor_daskjq.rules import dask_client

    def square(i):
        time.sleep(0.25)
        return i * i

    with dask_client(snakemake) as client:
        futures = client.map(square, range(snakemake.config["tasks"]))
        Path(f"{snakemake.wildcards.name}.began").write_text(f"{len(client.nthreads())}\\n")
        total = sum(client.gather(futures))
    Path(snakemake.output[0]).write_text(f"{total}\\n")
"""


def start_of(names: str, count: int, tasks: int) -> tuple[str, ...]:
    return ("--jobs", "unlimited", "--config", f"names={names}", f"count={count}", f"tasks={tasks}", "--daskjq-cores")


def wait_for_begin(workflow: Workflow) -> None:
    began = workflow.folder / "a.began"
    workflow.wait_until(lambda: began.exists() and began.read_text().endswith("\n"), 120)


def squares(tasks: int) -> str:
    return f"{sum(i * i for i in range(tasks))}\n"


def test_six_workers_over_three_pilots_one_of_which_is_killed(workflow: Workflow, slurm: SlurmCluster) -> None:
    workflow.write(SNAKEFILE).write(SCRIPT, "sums.py")
    process = workflow.start(*start_of("a", 6, 200), "3", "--daskjq-max-pilots", "3")
    wait_for_begin(workflow)
    assert workflow.read("a.began") == "6\n"
    placed = {event["key"]: event["pilot"] for event in workflow.journal("job_placed")}
    workers = Counter(pilot for key, pilot in placed.items() if ".worker-" in key)
    assert (len(workers), sum(workers.values())) == (3, 6)
    (home,) = (pilot for key, pilot in placed.items() if key.startswith("sums") and ".worker-" not in key)
    pilot, lost = min(((pilot, count) for pilot, count in workers.items() if pilot != home), key=lambda one: one[1])
    assert lost == 1
    (batch_id,) = (event["batch_id"] for event in workflow.journal("pilot_submitted") if event["pilot"] == pilot)
    slurm.run("scancel", "--signal=KILL", "--full", batch_id)
    assert process.wait(240) == 0, workflow.output[-4000:]
    assert workflow.read("a.sum") == squares(200)
    ends = [(event["key"], event["end"]) for event in workflow.journal("job_ended")]
    (replaced,) = (key for key, end in ends if end == "lost")
    assert ".worker-" in replaced
    assert sum(".worker-" in event["key"] for event in workflow.journal("job_placed")) == 7


def test_two_rules_with_four_workers_on_room_for_six_both_end(workflow: Workflow) -> None:
    workflow.write(SNAKEFILE).write(SCRIPT, "sums.py")
    assert workflow.run(*start_of("a-b", 4, 20), "3", "--daskjq-max-pilots", "2") == 0, workflow.output[-4000:]
    assert (workflow.read("a.sum"), workflow.read("b.sum")) == (squares(20), squares(20))
    assert (workflow.read("a.began"), workflow.read("b.began")) == ("4\n", "4\n")


def test_an_interrupt_leaves_nothing(workflow: Workflow) -> None:
    workflow.write(SNAKEFILE).write(SCRIPT, "sums.py")
    process = workflow.start(*start_of("a", 6, 2000), "3", "--daskjq-max-pilots", "3")
    wait_for_begin(workflow)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) != 0
    assert not (workflow.run_folders[-1] / "dask-workers").exists()
