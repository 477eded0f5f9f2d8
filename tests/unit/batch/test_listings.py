"""Listings of batch systems. Slurm's and Grid Engine's are real (tests/batch), PBS' and theirs here were recorded from
real ones; the others are from manual pages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_daskjq import batch
from snakemake_executor_daskjq.batch.base import Listed, ListedState

QUEUED, HELD, BROKEN, RUNNING, ENDING = ListedState
QUEUING = [name for name in batch.NAMES if batch.system(name).queues]

LISTINGS = {
    "slurm": (
        "7|PENDING|Priority\n8|RUNNING|None\n9|PENDING|JobHeldUser\n10|COMPLETING|None\n11|PENDING|None\n",
        {
            "7": Listed(QUEUED, "Priority"),
            "8": Listed(RUNNING),
            "9": Listed(HELD, "PENDING (JobHeldUser)"),
            "10": Listed(ENDING),
            "11": Listed(QUEUED),
        },
    ),
    "pbs": (
        "\nhost1:\n                                                            Req'd  Req'd   Elap\n"
        "Job ID          Username Queue    Jobname    SessID NDS TSK Memory Time  S Time\n"
        "--------------- -------- -------- ---------- ------ --- --- ------ ----- - -----\n"
        "27.host1        tester   workq    STDIN       23821   2   8    --  00:10 R 00:00\n"
        "28.host1        tester   workq    daskjq        --    1   2  1908m 00:20 H   --\n"
        "29.host1        tester   workq    daskjq        --    1   2  1908m 00:20 Q   --\n"
        "30.host1        tester   workq    daskjq      23900   1   2  1908m 00:20 S 00:00\n"
        "31.host1        tester   workq    daskjq      23901   1   2  1908m 00:20 E 00:00\n",
        {
            "27": Listed(RUNNING),
            "28": Listed(HELD, "H"),
            "29": Listed(QUEUED),
            "30": Listed(RUNNING),
            "31": Listed(ENDING),
        },
    ),
    "sge": (
        "job-ID  prior   name       user         state submit/start at     queue                  slots ja-task-ID\n"
        "-----------------------------------------------------------------------------------------------------------------\n"
        "     37 0.75000 sleep      tester       r     11/28/2026 09:41:29 main.q@host1                       4\n"
        "     38 0.00000 daskjq     tester       hqw   11/28/2026 09:41:33                                    2\n"
        "     39 0.50000 daskjq     tester       qw    11/28/2026 09:41:33                                    2\n"
        "     74 0.50000 daskjq     tester       Eqw   11/28/2026 10:22:00                                    2\n"
        "     76 0.25000 daskjq     tester       dr    11/28/2026 14:59:23 main.q@host1                       2\n",
        {
            "37": Listed(RUNNING),
            "38": Listed(HELD, "hqw"),
            "39": Listed(QUEUED),
            "74": Listed(BROKEN, "Eqw"),
            "76": Listed(ENDING),
        },
    ),
    "lsf": (
        "101 PEND\n102 RUN\n103 PSUSP\n",
        {"101": Listed(QUEUED), "102": Listed(RUNNING), "103": Listed(HELD, "PSUSP")},
    ),
    "htcondor": (
        "12.0 1 undefined\n13.0 2 undefined\n14.0 5 via condor_hold (by user me)\n",
        {"12.0": Listed(QUEUED), "13.0": Listed(RUNNING), "14.0": Listed(HELD, "via condor_hold (by user me)")},
    ),
    "moab": (
        "active jobs------------------------\nJOBID  USERNAME  STATE PROCS REMAINING STARTTIME\n"
        "55     me        Running 4 00:10:00 Tue\n56 me UserHold 4 00:10:00 Tue\n",
        {"55": Listed(RUNNING), "56": Listed(HELD, "UserHold")},
    ),
    "oar": (
        "Job id    State  User  Duration\n--------- ------ ----- --------\n77        W      me    0:00:00\n78 H me 0\n",
        {"77": Listed(QUEUED), "78": Listed(HELD, "H")},
    ),
}


@pytest.mark.parametrize("system", LISTINGS)
def test_ids_and_states_are_found(system: str) -> None:
    listing, states = LISTINGS[system]
    assert batch.system(system).parse_listing(listing) == states


def test_every_system_with_a_queue_has_a_recorded_listing() -> None:
    assert set(LISTINGS) == set(QUEUING)


@given(st.sampled_from(QUEUING), st.text())
def test_nonsense_is_no_job_or_a_job_and_never_an_error(system: str, listing: str) -> None:
    for batch_id in batch.system(system).parse_listing(listing):
        assert batch_id[0].isdecimal()


lines = ["job_number:  7\n", "scheduling info: x\n", "error reason  1: y\n", "Job Id: 7.h\n", "    comment = z\n\tz\n"]


@given(st.sampled_from(QUEUING), st.text() | st.lists(st.sampled_from(lines)).map("".join))
def test_nonsense_is_no_reason_or_one_line_and_never_an_error(system: str, answer: str) -> None:
    for reason in batch.system(system).parse_reasons(answer).values():
        assert "\n" not in reason
