"""Rules that are Dask computations: their clusters stay inside what the rule holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ..workflow import Workflow

EXAMPLE = Path(__file__).parents[2] / "workflows" / "dask-rules" / "Snakefile"
SMALL = ("--config", "mem_mb=700", "rows=500", "--snakefile", str(EXAMPLE))


def test_the_example_spills_and_ends_right_and_the_report_tells(workflow: Workflow) -> None:
    assert workflow.run("--jobs", "unlimited", *SMALL) == 0, workflow.output[-3000:]
    assert workflow.read("total.txt") == f"70 chunks, in all {sum(range(70)) * 2_500_000}\n"
    means = workflow.read("means.csv").splitlines()
    assert (means[0], len(means)) == ("station,hour,temperature", 1 + 4 * 24)
    (ended,) = (event for event in workflow.journal("job_ended") if event["key"].startswith("total"))
    used = json.loads(ended["dask"])
    assert used["workers"] * used["memory_mb"] < 700
    assert used["tasks"] >= 140  # more where a worker had to be started anew
    assert used["spilled_mb"] > 700
    assert used["peak_mb"] <= used["memory_mb"]
    assert ended["peak_mem_mb"] < 700


PLAIN = """
    rule plain:
        output: "limits", "sum"
        threads: 2
        resources: mem_mb=700
        script: "plain.py"
"""
SCRIPT = """
    import numpy as np
    from dask.distributed import Client, LocalCluster

    def chunk(i):
        return np.full(1_250_000, i, dtype=float)

    if __name__ == "__main__":
        with LocalCluster(n_workers=snakemake.threads, dashboard_address=None) as cluster, Client(cluster) as client:
            workers = client.scheduler_info()["workers"].values()
            limits = [worker["memory_limit"] / 1e6 for worker in workers]
            open(snakemake.output[0], "w").write(f"{limits}")
            chunks = client.map(chunk, range(140))
            total = sum(client.gather(client.map(np.sum, chunks)))
            open(snakemake.output[1], "w").write(f"{total:.0f}")
"""


@pytest.mark.parametrize("level", ["direct", "off"])
def test_a_script_that_knows_nothing_of_daskjq_gets_right_limits_and_spills(workflow: Workflow, level: str) -> None:
    workflow.write(PLAIN).write(SCRIPT, "plain.py")
    assert workflow.run("--jobs", "unlimited", "--daskjq-warm-start", level) == 0, workflow.output[-3000:]
    limits = json.loads(workflow.read("limits"))
    assert len(limits) == 2
    assert sum(limits) <= 700 - 256
    assert workflow.read("sum") == f"{sum(range(140)) * 1_250_000}"
    (ended,) = workflow.journal("job_ended")
    assert ended["peak_mem_mb"] < 700


def test_the_helper_needs_no_guard_and_has_no_port_that_others_could_use(workflow: Workflow) -> None:
    workflow.write("""
        rule all:
            input: "script", "run"
        rule script:
            output: "script"
            threads: 2
            resources: mem_mb=900, dask="processes"
            script: "ports.py"
        rule run:
            output: "run"
            threads: 1
            resources: mem_mb=900
            run:
                from snakemake_executor_daskjq.rules import dask_client
                with dask_client(threads=threads, resources=resources) as client:
                    open(output[0], "w").write(str(client.submit(sum, [1, 2]).result()))
    """)
    workflow.write(
        """
        import os
        import psutil
        from snakemake_executor_daskjq.rules import dask_client

        open("runs", "a").write("once")
        with dask_client(snakemake) as client:
            answers = client.gather(client.map(lambda x: 2 * x, range(10)))
            own = {process.pid for process in (psutil.Process(), *psutil.Process().children(recursive=True))}
            tcp = [one for one in psutil.net_connections("tcp") if one.pid in own]
            ports = {one.laddr for one in tcp if one.status == "LISTEN"}
            address = client.scheduler.address
        assert (__spec__, os.environ["OMP_NUM_THREADS"]) == (None, "2")  # as before
        with open(snakemake.output[0], "w") as file:
            print(sum(answers), {ip for ip, _ in ports}, 8787 in {port for _, port in ports}, address[:6], file=file)
        """,
        "ports.py",
    )
    assert workflow.run("--jobs", "unlimited") == 0, workflow.output[-3000:]
    assert workflow.read("script") == "90 {'127.0.0.1'} False tls://\n"
    assert workflow.read("runs") == "once"
    assert workflow.read("run") == "3"


def test_under_another_executor_it_does_the_same_and_each_worker_has_a_gpu_of_its_own(workflow: Workflow) -> None:
    workflow.write("""
        rule a:
            output: "a"
            threads: 2
            resources: mem_mb=1000, dask="gpus"
            script: "a.py"
    """)
    workflow.write(
        """
        import os
        from snakemake_executor_daskjq.rules import dask_client
        with dask_client(snakemake) as client:
            workers = client.scheduler_info()["workers"].values()
            seen = client.run(lambda: (os.environ["CUDA_VISIBLE_DEVICES"], os.environ["OMP_NUM_THREADS"]))
            with open(snakemake.output[0], "w") as file:
                print(sum(worker["memory_limit"] for worker in workers) < 1000e6, sorted(seen.values()), file=file)
        """,
        "a.py",
    )
    workflow.env["CUDA_VISIBLE_DEVICES"] = "GPU-a,GPU-b"  # there are none here: who is given which is what counts
    assert workflow.run("--cores", "2", executor="local") == 0
    assert workflow.read("a") == "True [('GPU-a', '1'), ('GPU-b', '1')]\n"


@pytest.mark.parametrize(("shape", "why"), [("4x4", "that is 16 threads, and the rule has 1"), ("many", "none of the")])
def test_a_wrong_shape_is_told_in_the_rules_log(workflow: Workflow, shape: str, why: str) -> None:
    workflow.write(f"""
        rule a:
            output: "a"
            resources: dask="{shape}"
            script: "a.py"
    """).write("from snakemake_executor_daskjq.rules import dask_client\ndask_client(snakemake)\n", "a.py")
    assert workflow.run("--jobs", "unlimited") == 1
    assert why in workflow.output
    assert "Allowed are 'threads'" in workflow.output


def test_libraries_see_the_cores_of_the_job(workflow: Workflow) -> None:
    workflow.env.pop("MC_CORES", None)
    workflow.write("""
        rule a:
            output: "a"
            threads: 2
            shell:
                "echo $MC_CORES $PYTHON_CPU_COUNT $OMP_NUM_THREADS > {output}; "
                "test $DASK_TEMPORARY_DIRECTORY = $TMPDIR"
        rule b:
            output: "b"
            input: "a"
            shell: "echo $MC_CORES > {output}"
    """)
    assert workflow.run("--jobs", "unlimited", "a") == 0, workflow.output[-2000:]
    assert workflow.read("a") == "2 2 2\n"
    workflow.env["MC_CORES"] = "7"  # the user's choice
    assert workflow.run("--jobs", "unlimited", "b") == 0
    assert workflow.read("b") == "7\n"
