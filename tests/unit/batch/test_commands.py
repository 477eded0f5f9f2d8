"""Commands of batch systems: time limits, their own words, and the environment that they run with."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from snakemake_executor_daskjq import batch
from snakemake_executor_daskjq.batch.commands import CommandError, call

from ...awaiting import gone


def test_a_command_that_hangs_is_killed_with_what_it_started(tmp_path: Path) -> None:
    command = ["sh", "-c", f"sleep 600 & echo $! > {tmp_path}/pid; wait"]
    with pytest.raises(CommandError, match=r"sh gave no answer in 2 s, and was killed"):
        asyncio.run(call(command, 2))
    asyncio.run(asyncio.wait_for(gone(int((tmp_path / "pid").read_text())), 10))


def test_a_command_that_fails_is_told_in_its_own_words_on_one_line() -> None:
    with pytest.raises(CommandError, match=r"^sbatch: error: a b$"):
        asyncio.run(call(["sh", "-c", "echo noise; echo 'sbatch: error:  a' >&2; echo b >&2; exit 1"], 10))
    with pytest.raises(CommandError, match=r"^sh ended with exit status 7$"):
        asyncio.run(call(["sh", "-c", "exit 7"], 10))


USERS = {"HOME": "/home/me", "PATH": "/bin", "OMP_NUM_THREADS": "3"}

INSIDE = {
    # system -> the variables of a job of it, and settings of its commands
    "slurm": (
        {"SLURM_JOB_ID": "7", "SLURM_MEM_PER_CPU": "1", "SBATCH_EXPORT": "NONE", "SRUN_DEBUG": "3", "SLURMD_X": "n"},
        {"SLURM_CONF": "/etc/slurm.conf"},
    ),
    "pbs": (
        {"PBS_JOBID": "12.host1", "PBS_O_PATH": "/usr/bin", "PBS_NODEFILE": "/var/x", "NCPUS": "2"},
        {"PBS_CONF_FILE": "/etc/pbs.conf", "PBS_SERVER": "host1"},
    ),
    "sge": (
        {"SGE_JOB_SPOOL_DIR": "/x", "JOB_ID": "3", "NSLOTS": "2", "SGE_O_PATH": "", "PE_HOSTFILE": "/x", "QUEUE": ""},
        {"SGE_ROOT": "/sge", "SGE_CELL": "default", "SGE_QMASTER_PORT": "1", "SGE_CLUSTER_NAME": "p1"},
    ),
    "lsf": ({"LSB_JOBID": "3", "LSB_HOSTS": "a", "LSB_DJOB_NUMPROC": "2"}, {"LSF_ENVDIR": "/x"}),
    "oar": ({"OAR_JOB_ID": "3", "OAR_NODEFILE": "/x"}, {}),
    "htcondor": ({"_CONDOR_JOB_AD": "/x", "_CONDOR_SLOT": "slot1"}, {"_CONDOR_SCHEDD_HOST": "a"}),
    "moab": ({"MOAB_JOBID": "3", "PBS_O_PATH": "/x"}, {"MOABHOMEDIR": "/x"}),
}  # fmt: skip


@pytest.mark.parametrize("system", INSIDE)
def test_a_job_that_snakemake_runs_in_does_not_leak_into_what_it_submits(system: str) -> None:
    of_the_job, settings = INSIDE[system]
    users = {name: value for name, value in USERS.items() if name not in batch.system(system).core_variables}
    assert batch.system(system).environment({**users, **of_the_job, **settings}) == {**users, **settings}


@pytest.mark.parametrize("system", INSIDE)
def test_outside_of_a_job_the_environment_stays_as_the_user_has_it(system: str) -> None:
    theirs = {**USERS, **INSIDE[system][1], "SBATCH_ACCOUNT": "lab", "PBS_O_X": "y", "SGE_ACCOUNT": "lab"}
    assert batch.system(system).environment(theirs) == theirs


def test_every_system_with_a_queue_is_checked_for_leaks() -> None:
    assert set(INSIDE) == {name for name in batch.NAMES if batch.system(name).queues}
