"""Listings of batch systems. Slurm's is real (tests/batch); the others are recorded from manual pages."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_daskjq.cluster.batch import CommandError, call, parse, query_for
from snakemake_executor_daskjq.model.pool import SYSTEMS

from ...awaiting import gone

LISTINGS = {
    "slurm": ("7|PENDING|Priority\n8|RUNNING|None\n", {"7": "PENDING (Priority)", "8": "RUNNING"}),
    "pbs": (
        "\npbs01:\n                                                            Req'd  Req'd   Elap\n"
        "Job ID          Username Queue    Jobname    SessID NDS TSK Memory Time  S Time\n"
        "--------------- -------- -------- ---------- ------ --- --- ------ ----- - -----\n"
        "123.pbs01       me       workq    daskjq        --    1   4    8gb 01:00 Q   --\n"
        "124.pbs01       me       workq    daskjq      2117    1   4    8gb 01:00 R 00:01\n",
        {"123": "Q", "124": "R"},
    ),
    "sge": (
        "job-ID  prior   name       user         state submit/start at     queue       slots ja-task-ID\n"
        "------------------------------------------------------------------------------------\n"
        "     12 0.55500 daskjq     me           r     11/24/2026 10:00:00 all.q@n1        4\n"
        "     13 0.00000 daskjq     me           qw    11/24/2026 10:00:01                 4\n",
        {"12": "r", "13": "qw"},
    ),
    "lsf": ("101 PEND\n102 RUN\n", {"101": "PEND", "102": "RUN"}),
    "htcondor": ("12.0 1\n13.0 2\n", {"12.0": "1", "13.0": "2"}),
    "moab": (
        "active jobs------------------------\nJOBID  USERNAME  STATE PROCS REMAINING STARTTIME\n"
        "55     me        Running 4 00:10:00 Tue\n0 eligible jobs\n",
        {"55": "Running", "0": "jobs"},
    ),
    "oar": (
        "Job id    State  User  Duration\n--------- ------ ----- --------\n77        W      me    0:00:00\n",
        {"77": "W"},
    ),
}


@pytest.mark.parametrize("system", LISTINGS)
def test_ids_and_states_are_found(system: str) -> None:
    listing, states = LISTINGS[system]
    assert parse(listing, query_for(system)) == states


@given(st.sampled_from([system for system in SYSTEMS if system != "local"]), st.text())
def test_nonsense_is_no_job_or_a_job_and_never_an_error(system: str, listing: str) -> None:
    for batch_id in parse(listing, query_for(system)):
        assert batch_id[0].isdecimal()


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
