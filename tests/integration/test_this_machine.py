"""On this machine, jobs get what Snakemake's own local execution gives them, and nothing of that is refused."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

import pytest

from ..levels import LEVELS, at_level
from ..workflow import Workflow

CORES = """
    rule all:
        input: "a.txt", "b.txt", "c.txt", "d.txt"
    rule a:
        output: "a.txt"
        threads: workflow.cores // 2
        shell: "echo {threads} > {output}"
    rule b:
        output: "b.txt"
        params: n=workflow.cores
        shell: "echo {params.n} > {output}"
    rule c:
        output: "c.txt"
        threads: lambda wildcards: int(workflow.cores * 0.75)
        run:
            with open(output[0], "w") as file:
                print(threads, workflow.cores, file=file)
    rule d:
        output: "d.txt"
        threads: 99
        shell: "echo {threads} > {output}"
"""

PRODUCTION = """
    rule all:
        input: "a", "b", "c"
    rule a:
        output: "a"
        resources: mem_mb=64000000, gpu=1, disk_mb=10**9, runtime=5, qos="long", slurm_partition="fat", nodes=2
        shell: "echo ${{CUDA_VISIBLE_DEVICES-unset}} > {output}"
    rule b:
        output: "b"
        resources: mem_mb=65000000, nvidia_gpu=2, daskjq_pool="large"
        shell: "touch {output}"
    rule c:
        output: "c"
        resources: licenses=5
        shell: "touch {output}"
"""


@pytest.mark.parametrize("level", LEVELS)
def test_cores_are_those_of_the_run(tmp_path: Path, level: str) -> None:
    workflow = at_level(level, tmp_path).write(CORES)
    assert workflow.run("--jobs", "9", "--cores", "8") == 0, workflow.output[-3000:]
    found = [workflow.read(f"{name}.txt") for name in "abcd"]
    assert found == ["4\n", "8\n", "6 8\n", "8\n"]
    (pool,) = workflow.journal("run_started")[0]["pools"].values()
    assert pool["cores"] == 8
    assert workflow.leftovers() == []


@pytest.mark.parametrize("level", ["direct", "off"])
def test_a_pilots_stated_cores_bound_threads_and_not_what_the_run_has(tmp_path: Path, level: str) -> None:
    workflow = at_level(level, tmp_path).write(CORES)
    assert workflow.run("--jobs", "9", "--cores", "8", "--daskjq-cores", "3") == 0, workflow.output[-3000:]
    found = [workflow.read(f"{name}.txt") for name in "abcd"]
    assert found == ["3\n", "8\n", "3 8\n", "3\n"]
    assert workflow.leftovers() == []


def test_jobs_is_no_number_of_cores(workflow: Workflow) -> None:
    workflow.write("rule a:\n    output: 'x'\n    shell: 'touch {output}'\n")
    assert workflow.run("--jobs", "1000") == 0
    (pool,) = workflow.journal("run_started")[0]["pools"].values()
    assert pool["cores"] <= (os.cpu_count() or 1)


def test_what_this_machine_has_too_little_of_is_all_of_it_and_told_once(workflow: Workflow) -> None:
    workflow.env.pop("CUDA_VISIBLE_DEVICES", None)
    workflow.write(PRODUCTION)
    options = ("--jobs", "9", "--daskjq-resources", "licenses=2", "disk_mb=1000", "--daskjq-walltime", "1m")
    assert workflow.run(*options) == 0, workflow.output[-3000:]
    told = re.findall(r"daskjq: rule . asks for .*", workflow.output)
    words = ("mem_mb=6[45]000000", "gpu=[12]", "disk_mb=1000000000", "licenses=5", "daskjq_pool=large")
    assert len(told) == len(words)
    for word in words:
        assert len([line for line in told if re.search(rf"asks for {word}[,:]", line)]) == 1
    assert any(re.search(r"mem_mb=\d+, this machine's pilot has \d+: the job gets all of it", line) for line in told)
    assert "which no pool gives" not in workflow.output
    assert workflow.read("a") == "unset\n"
    amounts = {event["rule"]: event["amounts"] for event in workflow.journal("job_submitted")}
    assert amounts["a"]["mem_mb"] < 64000000
    assert "gpu_percent" not in amounts["a"]
    assert amounts["c"]["licenses"] == 2


def test_a_job_may_use_what_it_states_also_where_its_pilot_has_less(workflow: Workflow) -> None:
    workflow.write("""
        rule a:
            output: "x"
            resources: mem_mb=2000
            shell: "python3 -c 'data = bytearray(400_000_000); import time; time.sleep(2)'; touch {output}"
    """)
    assert workflow.run("--jobs", "1", "--daskjq-memory", "200") == 0, workflow.output[-3000:]
    assert workflow.journal("job_submitted")[0]["amounts"]["mem_mb"] == 200


def test_of_several_pools_a_job_gets_all_of_the_closest(workflow: Workflow) -> None:
    workflow.write("""
        rule a:
            output: "x"
            threads: 3
            resources: mem_mb=1500
            shell: "echo {threads} > {output}"
    """)
    workflow.write(
        """
        defaults: {system: local}
        pools:
          wide: {cores: 4, memory: 1GB}
          deep: {cores: 1, memory: 2GB}
        """,
        "pools.yaml",
    )
    assert workflow.run("--jobs", "1", "--daskjq-pools", "pools.yaml") == 0, workflow.output[-3000:]
    (job,) = workflow.journal("job_submitted")
    assert job["amounts"] == {"cores": 3, "mem_mb": 1000}


def test_a_gpu_that_is_there_is_not_hidden_where_more_are_asked_for(workflow: Workflow) -> None:
    workflow.env.pop("CUDA_VISIBLE_DEVICES", None)
    workflow.write("""
        rule a:
            output: "x"
            resources: gpu=4
            shell: "echo ${{CUDA_VISIBLE_DEVICES-unset}} > {output}"
    """)
    assert workflow.run("--jobs", "1", "--daskjq-gpus", "1") == 0
    assert workflow.read("x") == "0\n"


@pytest.mark.parametrize("level", LEVELS)
def test_config_values_keep_backslashes_and_quotes(tmp_path: Path, level: str) -> None:
    """`workflow.run` uses no shell, so these are the values themselves. (`local` has a shell read them: it fails.)"""
    values = [r"pat=\d+", "both='\"'", 'say=it\'s "me" too', "dict={'a': \"it's\"}", "text=$HOME `x`", "quoted='x'"]
    workflow = at_level(level, tmp_path).write("""
        onstart:
            with open("main", "w") as file:
                print(sorted(config.items()), file=file)
        rule all:
            input: "run", "script"
        rule a:
            output: "run"
            run:
                with open(output[0], "w") as file:
                    print(sorted(config.items()), file=file)
        rule b:
            output: "script"
            script: "s.py"
    """)
    workflow.write("print(sorted(snakemake.config.items()), file=open(snakemake.output[0], 'w'))\n", "s.py")
    assert workflow.run("--jobs", "9", "--config", *values) == 0, workflow.output[-3000:]
    config = dict(ast.literal_eval(workflow.read("main")))  # Snakemake itself takes quotes at the end away
    assert (config["pat"], config["say"]) == (r"\d+", 'it\'s "me" too')
    for name in ("run", "script"):
        assert dict(ast.literal_eval(workflow.read(name))) == config
    assert workflow.leftovers() == []


@pytest.mark.parametrize("level", LEVELS)
def test_file_names_that_look_like_options(tmp_path: Path, level: str) -> None:
    workflow = at_level(level, tmp_path).write("""
        rule all:
            input: "out"
        rule a:
            output: temp("-u.txt"), temp("--mode"), temp("plain.txt"), temp("-alone")
            shell: "touch ./-u.txt ./--mode plain.txt ./-alone"
        rule b:
            input: "-u.txt", "--mode", "plain.txt"
            output: "out"
            shell: "ls > {output}"
    """)
    assert workflow.run("--jobs", "9") == 0, workflow.output[-3000:]
    assert {"-u.txt", "--mode", "plain.txt"} <= set(workflow.read("out").split("\n"))
    assert not {"-u.txt", "--mode", "plain.txt", "-alone"} & {path.name for path in workflow.folder.iterdir()}
    assert workflow.leftovers() == []


STALE = """
    import os
    FLAG = os.path.exists("flag.txt")
    rule all:
        input: "a.txt", "c.txt"
    rule a:
        output: "a.txt"
        run:
            shell("echo ran >> runs-of-a; while [ ! -e go.txt ]; do sleep 0.02; done; exit 1")
    rule b:
        output: "b.txt"
        run:
            shell("touch flag.txt {output}")
    rule c:
        input: "b.txt"
        output: "c.txt"
        run:
            shell("touch go.txt; sleep 0.1; touch {output}")
"""
"""Once b has ended, its host's parse is out of date, and c gets a new one, while a runs and then fails."""


def test_a_host_that_is_replaced_does_not_take_failing_jobs_for_lost(workflow: Workflow) -> None:
    workflow.env["SNAKEMAKE_DASKJQ_WARM_START"] = "workflow"
    workflow.write(STALE)
    assert workflow.run("--jobs", "9", "--keep-going") == 1
    assert workflow.read("runs-of-a") == "ran\n"
    ends = {event["key"].partition("-")[0]: event for event in workflow.journal("job_ended")}
    assert (ends["a"]["end"], ends["b"]["end"], ends["c"]["end"]) == ("failed", "succeeded", "succeeded")
    assert [event["why"] for event in workflow.journal("pilot_ended")] == ["run ended"]
    assert workflow.journal("pilot_lost") == []


def test_nothing_is_left_in_the_users_temporary_folder(workflow: Workflow) -> None:
    (workflow.folder / "tmp").mkdir()
    workflow.env["TMPDIR"] = str(workflow.folder / "tmp")
    workflow.write("rule a:\n    output: 'x'\n    shell: 'touch {output}'\n")
    assert workflow.run("--jobs", "1") == 0
    assert [path.name for path in (workflow.folder / "tmp").iterdir() if "dask" in path.name] == []
    assert not (workflow.run_folders[-1] / "dask").exists()


@pytest.mark.parametrize("name", ["a\nb", "tab\there"])
def test_a_control_character_in_the_working_directory_is_told_at_start(tmp_path: Path, name: str) -> None:
    workflow = Workflow(tmp_path / name)
    workflow.folder.mkdir()
    workflow.write("rule a:\n    output: 'x'\n    shell: 'touch {output}'\n")
    assert workflow.run("--jobs", "1") == 1
    assert "The path of the working directory has a newline or another control character in it" in workflow.output
    assert "Traceback" not in workflow.output
    assert not (workflow.folder / ".snakemake" / "daskjq").exists()
