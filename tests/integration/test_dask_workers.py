"""A rule whose Dask workers are jobs of the run, on pilots beside its own job."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from ..features.deployment import FAKE_APPTAINER
from ..workflow import PILOT, Workflow

SNAKEFILE = """
    rule all:
        input: expand("{name}.sum", name=config.get("names", "a").split("-")), expand("{n}.other", n=range(4))
    rule sums:
        output: "{name}.sum"
        threads: 1
        resources: mem_mb=1000, dask_workers=4, dask_workers_min=2, dask_worker_mem_mb=500
        script: "sums.py"
    rule other:
        output: "{n}.other"
        shell: "echo {wildcards.n} > {output}"
"""
SCRIPT = """
    import os, time
    from snakemake_executor_daskjq.rules import dask_client

    def square(i):
        time.sleep(0.05)
        return i * i, os.getpid()

    with dask_client(snakemake) as client:
        come = len(client.scheduler_info()["workers"])
        answers = client.gather(client.map(square, range(60)))
        limits = {worker["memory_limit"] for worker in client.scheduler_info()["workers"].values()}
    with open(snakemake.output[0], "w") as file:
        print(sum(square for square, _ in answers), come >= 2, len({pid for _, pid in answers}), limits, file=file)
"""
ROOM = ("--jobs", "unlimited", "--daskjq-cores", "1", "--daskjq-memory", "2GB", "--daskjq-max-pilots", "6")


def test_a_rule_has_workers_on_several_pilots_and_other_rules_go_on(workflow: Workflow) -> None:
    workflow.write(SNAKEFILE).write(SCRIPT, "sums.py")
    assert workflow.run(*ROOM) == 0, workflow.output[-4000:]
    total, enough, workers, limits = workflow.read("a.sum").split(maxsplit=3)
    assert (int(total), enough) == (sum(i * i for i in range(60)), "True")
    assert 2 <= int(workers) <= 4
    assert json.loads(limits.replace("{", "[").replace("}", "]")) == [250_000_000]
    placed = {event["key"]: event["pilot"] for event in workflow.journal("job_placed")}
    assert len({pilot for key, pilot in placed.items() if ".worker-" in key}) >= 2
    assert not (workflow.run_folders[-1] / "dask-workers").exists()


def test_two_such_rules_on_room_for_six_both_end(workflow: Workflow) -> None:
    """Each needs four and a core for itself."""
    workflow.write(SNAKEFILE.replace("dask_workers_min=2", "dask_workers_min=4")).write(SCRIPT, "sums.py")
    assert workflow.run(*ROOM, "--config", "names=a-b") == 0, workflow.output[-4000:]
    for name in ("a.sum", "b.sum"):
        assert workflow.read(name).startswith(f"{sum(i * i for i in range(60))} True ")


LONG = """
    import os, time
    from snakemake_executor_daskjq.rules import dask_client

    def slow(i):
        time.sleep(0.2)
        return i

    with dask_client(snakemake) as client:
        futures = client.map(slow, range(80))
        open("began", "w").write("begun\\n")
        total = sum(client.gather(futures))
    open(snakemake.output[0], "w").write(f"{total}\\n")
"""


def test_a_pilot_that_is_killed_costs_a_worker_and_not_the_result(workflow: Workflow) -> None:
    workflow.write(SNAKEFILE).write(LONG, "sums.py")
    process = workflow.start(*ROOM)
    workflow.wait_for("began")
    placed = {event["key"]: event["pilot"] for event in workflow.journal("job_placed")}
    (home,) = (pilot for key, pilot in placed.items() if key.startswith("sums") and ".worker-" not in key)
    away = next(pilot for key, pilot in placed.items() if ".worker-" in key and pilot != home)
    (batch_id,) = (event["batch_id"] for event in workflow.journal("pilot_submitted") if event["pilot"] == away)
    (victim,) = (one for one in workflow.started_as(PILOT) if one.pid == int(batch_id))
    victim.send_signal(signal.SIGKILL)
    assert process.wait(120) == 0, workflow.output[-4000:]
    assert workflow.read("a.sum") == f"{sum(range(80))}\n"
    lost = [event["key"] for event in workflow.journal("job_ended") if event["end"] == "lost"]
    assert lost
    assert all(".worker-" in key for key in lost)
    assert workflow.leftovers() == []


def test_an_interrupt_leaves_nothing(workflow: Workflow) -> None:
    workflow.write(SNAKEFILE).write(LONG.replace("0.2", "20"), "sums.py")
    process = workflow.start(*ROOM)
    workflow.wait_for("began")
    process.send_signal(signal.SIGINT)
    assert process.wait(60) != 0
    assert workflow.leftovers() == []
    assert not (workflow.run_folders[-1] / "dask-workers").exists()


@pytest.mark.parametrize("cores", ["1", "2"])
def test_on_a_small_machine_a_rule_has_as_many_as_fit_or_starts_its_own(workflow: Workflow, cores: str) -> None:
    workflow.write(SNAKEFILE.replace("dask_workers_min=2", "dask_workers_min=4")).write(SCRIPT, "sums.py")
    assert workflow.run("--jobs", "unlimited", "--daskjq-cores", cores, "--daskjq-max-pilots", "1") == 0
    assert workflow.read("a.sum").startswith(f"{sum(i * i for i in range(60))} ")
    workers = [event for event in workflow.journal("job_placed") if ".worker-" in event["key"]]
    assert bool(workers) is (cores == "2")


RUN_RULE = """
    from snakemake_executor_daskjq.rules import dask_client

    rule all:
        output: "twice.txt"
        threads: 1
        resources: mem_mb=500, dask_workers=2, dask_workers_min=2, dask_worker_mem_mb=300
        run:
            seen = []
            for number in (1, 2):
                with dask_client(threads=threads, resources=resources) as client:
                    seen.append((len(client.nthreads()), sum(client.gather(client.map(abs, range(10))))))
            with open(output[0], "w") as file:
                print(seen, file=file)
"""


def test_a_rule_may_make_one_cluster_after_the_other(workflow: Workflow) -> None:
    workflow.write(RUN_RULE)
    assert workflow.run(*ROOM) == 0, workflow.output[-4000:]
    assert workflow.read("twice.txt") == "[(2, 45), (2, 45)]\n"
    placed = [event["key"] for event in workflow.journal("job_placed")]
    assert sum(".worker-" in key for key in placed) == 2


def test_a_rule_whose_workers_end_again_and_again_fails(workflow: Workflow) -> None:
    workflow.write(RUN_RULE.replace("dask_worker_mem_mb=300", "dask_worker_mem_mb=20"))
    assert workflow.run(*ROOM) != 0
    assert "Rule all fails: its Dask workers end again and again, the last one: " in workflow.output
    assert "more than its mem_mb of 20" in workflow.output
    assert "this rule ends, for it can't have its Dask workers." in workflow.output
    assert workflow.leftovers() == []


OTHER_PYTHON = """
    rule all:
        output: "python.txt"
        resources: mem_mb=500, dask_workers=1, dask_worker_mem_mb=300
        shell: "other/bin/python own.py {output}"
"""
OWN = """
    import sys
    from snakemake_executor_daskjq.rules import dask_client

    with dask_client(threads=1) as client:
        told = client.submit(lambda: sys.executable).result()
    with open(sys.argv[1], "w") as file:
        print(told == sys.executable, "other" in told, file=file)
"""


def test_workers_run_in_the_python_of_the_rule(workflow: Workflow) -> None:
    """As a `conda:` environment that has daskjq in it."""
    other = workflow.folder / "other"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", other], check=True)
    (packages,) = other.glob("lib/python*/site-packages")
    packages.joinpath("more.pth").write_text(f"{sysconfig.get_path('purelib')}\n{Path(__file__).parents[2]}\n")
    workflow.write(OTHER_PYTHON).write(OWN, "own.py")
    assert workflow.run(*ROOM) == 0, workflow.output[-4000:]
    assert workflow.read("python.txt") == "True True\n"


def test_rules_in_containers_and_groups_start_their_own_workers(workflow: Workflow) -> None:
    contained = RUN_RULE.replace("run:", "container: 'docker://image'\n        run:")
    grouped = RUN_RULE.replace("run:", "group: 'one'\n        run:")
    workflow.write(FAKE_APPTAINER, "fakes/apptainer")
    (workflow.folder / "fakes/apptainer").chmod(0o755)
    workflow.env["PATH"] = f"{workflow.folder}/fakes:{workflow.env['PATH']}"
    for snakefile, options in ((contained, ("--sdm", "apptainer")), (grouped, ())):
        workflow.write(snakefile)
        assert workflow.run(*ROOM, *options, "--forceall") == 0, workflow.output[-4000:]
        assert workflow.read("twice.txt") == "[(1, 45), (1, 45)]\n"
        assert not any(".worker-" in event["key"] for event in workflow.journal("job_placed"))


def test_a_rule_whose_own_pilot_is_killed_starts_again_with_new_workers(workflow: Workflow) -> None:
    workflow.write(SNAKEFILE.replace("dask_workers=4", "dask_workers=2")).write(LONG, "sums.py")
    process = workflow.start(*ROOM)
    workflow.wait_for("began")
    (home,) = (
        event["pilot"]
        for event in workflow.journal("job_placed")
        if event["key"].startswith("sums") and ".worker-" not in event["key"]
    )
    (batch_id,) = (event["batch_id"] for event in workflow.journal("pilot_submitted") if event["pilot"] == home)
    (victim,) = (one for one in workflow.started_as(PILOT) if one.pid == int(batch_id))
    victim.send_signal(signal.SIGKILL)
    assert process.wait(120) == 0, workflow.output[-4000:]
    assert workflow.read("a.sum") == f"{sum(range(80))}\n"
    second = [event["key"] for event in workflow.journal("job_placed") if ".worker-2-" in event["key"]]
    assert len(second) == 2
    (lost,) = (event for event in workflow.journal("job_ended") if event["end"] == "lost" and ".w" not in event["key"])
    again = [event["t"] for event in workflow.journal("job_placed") if event["key"] == lost["key"]][-1]
    assert not [
        event for event in workflow.journal("job_placed") if ".worker-1-" in event["key"] and event["t"] > again
    ]
    assert workflow.leftovers() == []


SURROUNDINGS = """
    import os
    os.environ["FROM_THE_SNAKEFILE"] = "1"
    workdir: "below"
    rule all:
        output: "seen.txt"
        resources: mem_mb=500, dask_workers=1, dask_worker_mem_mb=300
        shell: "export FROM_THE_RULE=2; {config[python]} ../own.py {output}"
"""
SEEN = """
    import os, sys
    from snakemake_executor_daskjq.rules import dask_client

    def seen():
        return os.getcwd(), os.environ.get("FROM_THE_SNAKEFILE"), os.environ.get("FROM_THE_RULE"), os.environ["TMPDIR"]

    with dask_client(threads=1) as client:
        told, own = client.submit(seen).result(), seen()
        try:
            dask_client(threads=1)
        except Exception as error:
            refused = str(error)
    with open(sys.argv[1], "w") as file:
        print(told[:3] == own[:3], own[0].endswith("below"), own[1:3], told[3] != own[3], refused, file=file)
"""


def test_workers_have_the_folder_and_the_variables_of_the_rule_and_one_client_at_a_time(workflow: Workflow) -> None:
    workflow.write(SURROUNDINGS).write(SEEN, "own.py")
    assert workflow.run(*ROOM, "--config", f"python={sys.executable}") == 0, workflow.output[-4000:]
    seen = workflow.read("below/seen.txt")
    assert seen.startswith("True True ('1', '2') True The Dask workers of this rule belong to another dask_client")


def test_values_that_are_none_are_refused(workflow: Workflow) -> None:
    workflow.write(RUN_RULE.replace("dask_workers=2", "dask_workers='eight'"))
    assert workflow.run(*ROOM) != 0
    assert "Rule all has dask_workers='eight'; allowed is a whole number." in workflow.output
