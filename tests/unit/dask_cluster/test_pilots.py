"""Job scripts through dask-jobqueue's own classes.

Slurm and Grid Engine are tested for real (tests/batch). PBS, LSF, OAR, HTCondor and Moab can't be had here: what is
checked for them is the script that would be submitted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask.config
import pytest

from snakemake_executor_daskjq import batch
from snakemake_executor_daskjq.batch.base import BatchSystem, Listed, ListedState
from snakemake_executor_daskjq.batch.commands import CommandError
from snakemake_executor_daskjq.dask_cluster import pilots
from snakemake_executor_daskjq.dask_cluster.pilots import PilotSetup, batch_pilot_class, job_options, worker_arguments
from snakemake_executor_daskjq.dask_cluster.security import RunSecurity
from snakemake_executor_daskjq.model.pool import Pool
from snakemake_executor_daskjq.pilot.process import parser, worker_options

BATCH_SYSTEMS = [name for name in batch.NAMES if batch.system(name).queues]


class Nobody:
    def pilot_submitted(self, pilot: str, batch_id: str) -> None: ...

    def pilot_start_failed(self, pilot: str, words: str) -> None: ...


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PilotSetup:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "with blank"
    folder.mkdir()
    return PilotSetup(RunSecurity.create(folder), tmp_path / "logs", "lo", Nobody())


def pool(system: str, **more: Any) -> Pool:
    stated: dict[str, Any] = {
        "cores": 4,
        "mem_mb": 8000,
        "walltime_s": 5400,
        "queue": "main",
        "account": "lab",
        "directives": ("key = value",) if system == "htcondor" else ("-extra 1",),
        "prologue": ("module load gcc",),
        "others": {"gpu": 2},
        "scratch_folder": Path("/scratch dir"),
    }
    return Pool(name="main", system=system, **{**stated, **more})


def script(system: str, setup: PilotSetup, **more: Any) -> str:
    job: Any = batch_pilot_class(system)(
        "tls://10.0.0.1:1", "main-1", setup=setup, **job_options(pool(system, **more), setup)
    )
    return str(job.job_script())


@pytest.mark.filterwarnings("ignore:OAR Job memory")
@pytest.mark.parametrize("system", BATCH_SYSTEMS)
def test_every_system_starts_our_pilot_with_what_the_pool_says(system: str, setup: PilotSetup) -> None:
    text = script(system, setup)
    assert "-m snakemake_executor_daskjq.pilot.process tls://10.0.0.1:1 --name main-1" in text
    assert "--resources cores=4,mem_mb=8000,gpu_percent=200" in text
    assert "module load gcc" in text
    assert "PRIVATE KEY" not in text


@pytest.mark.filterwarnings("ignore:OAR Job memory")
@pytest.mark.parametrize(
    ("system", "lines"),
    [
        ("slurm", ["-p main", "-A lab", "--cpus-per-task=4", "--mem=8G", "-t 01:30:00", "-extra 1"]),
        ("pbs", ["-q main", "-A lab", "select=1:ncpus=4:mem=7630MB", "walltime=01:30:00", "-extra 1"]),
        ("moab", ["-q main", "-A lab", "walltime=01:30:00", "-extra 1"]),
        ("sge", ["-q main", "-P lab", "h_rt=01:30:00", "-extra 1"]),
        ("lsf", ["-q main", '-P "lab"', "-n 4", "-W 1:30", "-extra 1"]),
        ("oar", ["-q main", "--project lab", "/nodes=1/core=4,walltime=01:30:00", "-extra 1"]),
        ("htcondor", ["MY.DaskWorkerCores = 4", "key = value"]),
    ],
)
def test_the_header_is_in_the_systems_own_words(system: str, lines: list[str], setup: PilotSetup) -> None:
    text = script(system, setup)
    for line in lines:
        assert line in text


def test_slurm_is_asked_for_gpus_and_features_unless_a_directive_does(setup: PilotSetup) -> None:
    text = script("slurm", setup, constraint="a100&ib")
    assert "#SBATCH --constraint=a100&ib\n#SBATCH --gres=gpu:2\n" in text
    assert "--gres=gpu:2" not in script("slurm", setup, directives=("--gpus=a100:2",))


def test_slurm_is_told_the_hosts_that_get_no_pilots_and_not_to_start_lost_ones_again(setup: PilotSetup) -> None:
    text = script("slurm", replace(setup, excluded=("n1", "n3")))
    assert "#SBATCH --exclude=n1,n3\n" in text
    assert "#SBATCH --no-requeue\n" in text
    assert "--exclude" not in script("slurm", setup)
    assert "--no-requeue" not in script("slurm", setup, directives=("--requeue",))


def test_a_pilot_of_several_nodes_holds_them_all(setup: PilotSetup) -> None:
    header = [line for line in script("slurm", setup, nodes=3).splitlines() if line.startswith("#SBATCH")]
    assert [line for line in header if "nodes" in line or "tasks" in line or "cpus" in line or "-n " in line] == [
        "#SBATCH --nodes=3",
        "#SBATCH --ntasks-per-node=4",
        "#SBATCH --cpus-per-task=1",
    ]


def header(system: str, setup: PilotSetup, **more: Any) -> list[str]:
    prefix = {"sge": "#$ ", "pbs": "#PBS "}[system]
    return [line.removeprefix(prefix) for line in script(system, setup, **more).splitlines() if line.startswith(prefix)]


def test_pbs_is_asked_for_gpus_in_the_only_chunk_unless_a_directive_has_one(setup: PilotSetup) -> None:
    assert "-l select=1:ncpus=4:mem=7630MB:ngpus=2" in header("pbs", setup)
    own = header("pbs", setup, directives=("-l select=1:ncpus=4:ngpus=2:host=n1",))
    assert [line for line in own if "select" in line] == ["-l select=1:ncpus=4:ngpus=2:host=n1"]


def test_pbs_writes_logs_at_once_and_starts_no_pilot_again_unless_a_directive_says_so(setup: PilotSetup) -> None:
    assert {"-r n", "-k oed"} <= set(header("pbs", setup))
    own = header("pbs", setup, directives=("-r y", "-k n"))
    assert {"-r y", "-k n"} <= set(own)
    assert not {"-r n", "-k oed"} & set(own)


def test_grid_engine_is_asked_for_a_pilots_cores_in_its_parallel_environment(setup: PilotSetup) -> None:
    assert "-pe smp 4" in header("sge", setup, parallel_environment="smp")
    assert not [line for line in header("sge", setup) if line.startswith("-pe")]
    own = header("sge", setup, parallel_environment="smp", directives=("-q fast.q -pe mpi 4",))
    assert [line for line in own if "-pe" in line] == ["-q fast.q -pe mpi 4"]


def test_grid_engine_runs_the_script_with_bash_and_never_twice_unless_a_directive_says_so(setup: PilotSetup) -> None:
    assert {"-S /bin/bash", "-r n"} <= set(header("sge", setup))
    assert "-S /bin/bash" not in header("sge", setup, directives=("-S /bin/zsh",))


def test_grid_engine_is_told_the_hosts_that_get_no_pilots(setup: PilotSetup) -> None:
    assert "-l hostname=!(n1|n1.*|n3|n3.*)" in header("sge", replace(setup, excluded=("n1", "n3")))


@pytest.mark.parametrize(("system", "variable"), [("sge", "SGE_O_PATH"), ("pbs", "PBS_O_PATH")])
def test_rules_find_what_the_submitter_finds_and_the_users_prologue_comes_after(
    system: str, variable: str, setup: PilotSetup
) -> None:
    assert f'export PATH="${variable}"\nmodule load gcc\n' in script(system, setup)


def test_a_site_that_says_what_a_chunk_is_keeps_it(setup: PilotSetup) -> None:
    with dask.config.set({"jobqueue.pbs.resource-spec": "select=1:ncpus=4:mem=8gb:model=sky"}):
        assert "-l select=1:ncpus=4:mem=8gb:model=sky" in header("pbs", setup)


def test_a_submission_runs_without_the_variables_of_a_surrounding_job(
    setup: PilotSetup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sbatch").write_text(f"#!/bin/sh\nenv > {tmp_path}/env\necho Submitted batch job 17\n")
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "100")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    answer = asyncio.run(batch_pilot_class("slurm")._call(["sbatch", "script"]))
    assert answer == "Submitted batch job 17\n"
    seen = [line for line in (tmp_path / "env").read_text().splitlines() if line.startswith("SLURM")]
    assert seen == ["SLURM_CONF=/etc/slurm.conf"]


@pytest.mark.filterwarnings("ignore:OAR Job memory")
@pytest.mark.parametrize("system", [system for system in BATCH_SYSTEMS if system != "htcondor"])
def test_the_pilot_understands_its_own_command_line(system: str, setup: PilotSetup) -> None:
    import shlex

    (line,) = [line for line in script(system, setup).splitlines() if "pilot.process" in line]
    arguments = shlex.split(line.partition("pilot.process ")[2])
    options = worker_options(parser().parse_args(arguments))
    assert options["name"] == "main-1"
    assert options["nthreads"] == 4
    assert options["resources"] == {"cores": 4.0, "mem_mb": 8000.0, "gpu_percent": 200.0}
    assert options["memory_limit"] == "0"
    assert options["local_directory"] == "/scratch dir"
    assert options["security"].require_encryption is True


def test_a_local_pilot_understands_its_own_arguments(setup: PilotSetup) -> None:
    local = Pool("local", "local", cores=2, mem_mb=1000)
    arguments = ["tcp://x", "--name", "local-1", "--host", "127.0.0.1", *worker_arguments(local, setup)]
    assert worker_options(parser().parse_args(arguments))["host"] == "127.0.0.1"


def test_certificates_are_private_and_go_away(setup: PilotSetup) -> None:
    files = sorted(setup.security.folder.iterdir())
    assert [path.name for path in files] == ["ca.pem", "cert.pem", "key.pem"]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    setup.security.remove()
    assert not list(setup.security.folder.iterdir())


@pytest.mark.parametrize(
    ("system", "output", "batch_id"),
    [
        ("slurm", "sbatch: 3 partitions are down for maintenance\nSubmitted batch job 17\n", "17"),
        ("pbs", "17.server\n", "17"),
        ("sge", 'Welcome to cell 2\nYour job 17 ("daskjq") has been submitted\n', "17"),
        ("lsf", "Project 9 is charged\nJob <17> is submitted to queue <normal>.\n", "17"),
        ("oar", "[ADMISSION RULE] 1 hour\nOAR_JOB_ID=17\n", "17"),
        ("htcondor", "Submitting job(s).\n1 job(s) submitted to cluster 17.\n", "17.0"),
    ],
)
def test_the_id_of_a_batch_job_is_found_where_the_system_tells_it(system: str, output: str, batch_id: str) -> None:
    """Recorded from manual pages, but for Slurm's."""
    cls = batch_pilot_class(system)
    assert cls._job_id_from_submit_output(object.__new__(cls), output) == batch_id


@pytest.mark.parametrize("system", BATCH_SYSTEMS)
@pytest.mark.parametrize("output", ["", "The queue is fine today.\n"])
def test_an_answer_without_an_id_is_told(system: str, output: str) -> None:
    cls = batch_pilot_class(system)
    with pytest.raises(
        CommandError, match=r"without telling a job's id; it said: (nothing|The queue is fine today\.)$"
    ):
        cls._job_id_from_submit_output(object.__new__(cls), output)


def test_pilots_that_have_left_are_not_cancelled_and_others_are_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pilots, "LOOK_S", 0.0)
    monkeypatch.setattr(pilots, "LEAVE_S", 0.05)
    answers: list[dict[str, Listed] | None] = [
        None,
        {"1": Listed(ListedState.RUNNING), "2": Listed(ListedState.ENDING)},
    ]

    class System(BatchSystem):
        async def listed(self, batch_ids: Collection[str]) -> dict[str, Listed] | None:
            return answers.pop(0) if answers else {"2": Listed(ListedState.ENDING)}

    class Pilot:
        system = System()

        def __init__(self, job_id: str | None) -> None:
            self.job_id = job_id

    left, stays, unsubmitted = (Pilot(job_id) for job_id in ("1", "2", None))
    asyncio.run(pilots.leave([left, stays, unsubmitted]))  # type: ignore[list-item]
    assert (left.job_id, stays.job_id, unsubmitted.job_id) == (None, "2", None)
