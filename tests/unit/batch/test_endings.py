"""How batch jobs ended, and why they wait, in recorded words of a real Slurm, OpenPBS and Grid Engine."""

from __future__ import annotations

import asyncio

import pytest

from snakemake_executor_daskjq import batch
from snakemake_executor_daskjq.batch import commands, pbs, sge, slurm
from snakemake_executor_daskjq.batch.base import Cause, Ended, Listed, ListedState

UNKNOWN, NO_FAULT, CRASH = Cause


@pytest.mark.parametrize(
    ("state", "cause"),
    [("TIMEOUT", NO_FAULT), ("PREEMPTED", NO_FAULT), ("CANCELLED", NO_FAULT), ("NODE_FAIL", CRASH), ("FAILED", CRASH),
     ("OUT_OF_MEMORY", CRASH), ("COMPLETED", NO_FAULT)],
)  # fmt: skip
def test_slurm_tells_whose_fault_it_was(state: str, cause: Cause) -> None:
    found = slurm.ended(f"JobId=7 JobState={state} Reason=None ExitCode=0:9 NodeList=n1")
    assert found == Ended(f"{state} (signal 9)", cause)


PBS_RECORD = """\
Job Id: 36.host1
    Job_Name = daskjq
    Job_Owner = tester@host1
    job_state = F
    queue = workq
    Exit_status = {status}
    substate = {substate}
    comment = Job run at Sat Nov 28 at 10:00 on (host1[0]:ncpus=2:mem=1953792kb) an
\td terminated by tester@host1
"""


@pytest.mark.parametrize(
    ("status", "substate", "ended"),
    [
        (-29, 91, Ended("over its walltime", NO_FAULT)),
        (-27, 91, Ended("over its mem", CRASH)),
        (271, 91, Ended("terminated by tester@host1", NO_FAULT)),
        (265, 91, Ended("terminated by tester@host1", NO_FAULT)),
        (265, 93, Ended("signal 9", CRASH)),
        (3, 93, Ended("exit status 3", CRASH)),
        (0, 92, Ended("completed", NO_FAULT)),
    ],
)
def test_pbs_tells_whose_fault_it_was(status: int, substate: int, ended: Ended) -> None:
    job = pbs.jobs(PBS_RECORD.format(status=status, substate=substate))["36"]
    assert pbs.ended(job) == ended


def test_pbs_jobs_that_go_on_or_were_put_back() -> None:
    assert pbs.ended({"job_state": "R"}) is None
    assert pbs.ended({"job_state": "E", "Exit_status": "0"}) is None
    assert pbs.ended({"job_state": "Q", "run_count": "1"}) == Ended("requeued", NO_FAULT)
    assert pbs.jobs("qstat: PBS is not configured to maintain job history 36.host1\n") == {}


def test_pbs_tells_why_jobs_wait() -> None:
    answer = (
        "Job Id: 28.host1\n    Job_Name = daskjq\n    job_state = Q\n"
        "    comment = Not Running: Insufficient amount of resource: mem (R: 1908mb A: 0kb T\n\t: 8gb)\n"
        "Job Id: 29.host1\n    job_state = Q\n"
        "    comment = Can Never Run: Insufficient amount of resource: ncpus (R: 64 A: 8 T: 8)\n"
        "Job Id: 30.host1\n    job_state = Q\n"
    )
    assert batch.system("pbs").parse_reasons(answer) == {
        "28": "Not Running: Insufficient amount of resource: mem (R: 1908mb A: 0kb T: 8gb)",
        "29": "Can Never Run: Insufficient amount of resource: ncpus (R: 64 A: 8 T: 8)",
    }


SGE_RECORD = """\
==============================================================
qname        main.q
hostname     vm
owner        tester
jobnumber    2
start_time   Sat Nov 28 14:59:23 2026
end_time     Sat Nov 28 14:59:26 2026
granted_pe   smp
slots        2
failed       {failed}
exit_status  {status}
ru_wallclock {wallclock}s
ru_utime     0.003s
category     {category}
"""
LIMIT = "37  : qmaster enforced h_rt, h_cpu, or h_vmem limit"
LIMIT_WORDS = "qmaster enforced h_rt, h_cpu, or h_vmem limit"


@pytest.mark.parametrize(
    ("failed", "status", "wallclock", "category", "ended"),
    [
        (LIMIT, "137                  (Killed)", 61, "-u tester -l h_rt=60 -pe smp 2", Ended(LIMIT_WORDS, NO_FAULT)),
        (LIMIT, "137                  (Killed)", 3660, "-l h_rt=01:00:00 -pe smp 2", Ended(LIMIT_WORDS, NO_FAULT)),
        (LIMIT, "137                  (Killed)", 1, "-l h_rt=60,h_vmem=1G", Ended(LIMIT_WORDS, CRASH)),
        (LIMIT, "137                  (Killed)", 1, "-pe smp 2", Ended(LIMIT_WORDS, UNKNOWN)),
        ("100 : assumedly after job", "137                  (Killed)", 5, "-pe smp 2",
         Ended("assumedly after job (exit status 137)", UNKNOWN)),
        ("0", "3", 5, "-pe smp 2", Ended("exit status 3", CRASH)),
        ("0", "0", 5, "-pe smp 2", Ended("completed", NO_FAULT)),
        ("7   : before prolog", "0", 0, "", Ended("before prolog (exit status 0)", CRASH)),
    ],
)  # fmt: skip
def test_grid_engine_tells_whose_fault_it_was(
    failed: str, status: str, wallclock: int, category: str, ended: Ended
) -> None:
    record = SGE_RECORD.format(failed=failed, status=status, wallclock=wallclock, category=category)
    assert sge.ended(record) == ended
    assert sge.ended(SGE_RECORD.format(failed="0", status="0", wallclock=1, category="") + record) == ended  # a rerun


def test_grid_engine_tells_why_jobs_wait() -> None:
    answer = (
        "==============================================================\n"
        "job_number:                 2\nparallel environment:  smp range: 20\n"
        'scheduling info:            cannot run in PE "smp" because it only offers 0 slots\n'
        "==============================================================\n"
        "job_number:                 4\nstdout_path_list:           NONE:NONE:/dev/null\n"
        "error reason          1:      11/28/2026 14:58:41 [0:18126]: "
        "error: can't chdir to /nonexistent: No such file or directory\n"
        "scheduling info:            Job is in error state\n"
        "==============================================================\n"
        "job_number:                 5\n"
        'scheduling info:            queue instance "main.q@vm" dropped because it is full\n'
        "                            All queues dropped because of overload or full\n"
        "==============================================================\n"
        "job_number:                 6\n"
        "scheduling info:            (Collecting of scheduler job information is turned off)\n"
    )  # fmt: skip
    assert batch.system("sge").parse_reasons(answer) == {
        "2": 'cannot run in PE "smp" because it only offers 0 slots',
        "4": "error: can't chdir to /nonexistent: No such file or directory",
        "5": "All queues dropped because of overload or full",
        "6": "",
    }


def answers(monkeypatch: pytest.MonkeyPatch, said: dict[tuple[str, ...], str | None]) -> list[str]:
    """Have commands, by how they begin, say that; returns those that were asked."""
    asked: list[str] = []

    async def output(command: tuple[str, ...], **_: object) -> str | None:
        asked.append(" ".join(command))
        return next(text for begin, text in said.items() if tuple(command)[: len(begin)] == begin)

    monkeypatch.setattr(commands, "output", output)
    return asked


def listing(state: str) -> str:
    return f"     12 0.55500 daskjq     me           {state}     11/24/2026 10:00:00 all.q@n1        4\n"


@pytest.mark.parametrize(
    ("state", "ended"),
    [
        ("dr", Ended("deleted", NO_FAULT)),
        ("r", Ended("assumedly after job (exit status 137)", CRASH)),
        ("", Ended("assumedly after job (exit status 137)", UNKNOWN)),
    ],
)
def test_grid_engines_listing_tells_a_deleted_job_from_a_killed_one(
    monkeypatch: pytest.MonkeyPatch, state: str, ended: Ended
) -> None:
    record = SGE_RECORD.format(failed="100 : assumedly after job", status="137 (Killed)", wallclock=5, category="")
    answers(monkeypatch, {("qstat",): listing(state) if state else "", ("qacct",): record})
    assert asyncio.run(batch.system("sge").how_ended("12", 0.0)) == ended


def test_reasons_are_asked_for_our_waiting_jobs_only_and_all_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = listing("qw") + listing("qw").replace("12 ", "13 ") + listing("r").replace("12 ", "14 ")
    reasons = "job_number:                 12\nscheduling info:            no suitable queues\n"
    asked = answers(monkeypatch, {("qstat", "-u"): jobs, ("qstat", "-j"): reasons})
    found = asyncio.run(batch.system("sge").listed(["12", "14", "99"]))
    assert found is not None
    assert found["12"] == Listed(ListedState.QUEUED, "no suitable queues")
    assert found["14"] == Listed(ListedState.RUNNING)
    assert [command for command in asked if "-j" in command] == ["qstat -j 12"]


def test_no_answer_is_neither_an_empty_list_nor_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, {(): None})
    for name in ("slurm", "pbs", "sge"):
        system = batch.system(name)
        assert asyncio.run(system.listed(["1"])) is None
        assert asyncio.run(system.until_gone("1", 0.0)) is False
        assert asyncio.run(system.how_ended("1", 0.0)) == Ended("", UNKNOWN)


def test_a_batch_job_that_is_no_longer_listed_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, {("squeue",): "8|RUNNING|None\n"})
    assert asyncio.run(batch.system("slurm").until_gone("7", 0.0)) is True
    assert asyncio.run(batch.system("slurm").until_gone("8", 0.0)) is False
