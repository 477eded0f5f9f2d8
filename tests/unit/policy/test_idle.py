from __future__ import annotations

from snakemake_executor_daskjq.model.pool import Pool
from snakemake_executor_daskjq.policy.idle import NO_MORE_WORK_S, IdlePilot, Prospects, idle_pilots

CHEAP = Pool("cheap", "slurm", cores=4, mem_mb=8000, idle_timeout_s=60)
DEAR = Pool("dear", "slurm", cores=64, mem_mb=8000, idle_timeout_s=60, min_pilots=1)
GOES_ON = Prospects(is_over=False, soon=0, running={"cheap": 2, "dear": 2})


def test_a_pilot_ends_after_its_timeout_and_not_before() -> None:
    idle = [IdlePilot("a", CHEAP, since=0.0)]
    assert idle_pilots(idle, GOES_ON, now=59.0) == []
    assert idle_pilots(idle, GOES_ON, now=60.0) == [("a", "idle")]


def test_for_what_comes_soon_the_cheap_ones_are_kept() -> None:
    idle = [IdlePilot("dear1", DEAR, 0.0), IdlePilot("cheap1", CHEAP, 0.0), IdlePilot("dear2", DEAR, 0.0)]
    soon = Prospects(is_over=False, soon=1, running={"cheap": 1, "dear": 3})
    assert idle_pilots(idle, soon, now=100.0) == [("dear1", "idle"), ("dear2", "idle")]


def test_min_pilots_stay_while_there_is_work_to_come() -> None:
    idle = [IdlePilot("a", DEAR, 0.0), IdlePilot("b", DEAR, 0.0)]
    assert idle_pilots(idle, GOES_ON, now=100.0) == [("a", "idle")]


def test_all_end_soon_when_nothing_is_to_come_but_not_before_a_failed_job_could_come_again() -> None:
    over = Prospects(is_over=True, soon=0, running={"cheap": 1, "dear": 1})
    idle = [IdlePilot("a", CHEAP, 0.0), IdlePilot("b", DEAR, 0.0)]
    assert idle_pilots(idle, over, now=NO_MORE_WORK_S - 1) == []
    assert idle_pilots(idle, over, now=NO_MORE_WORK_S) == [("a", "no more work"), ("b", "no more work")]


def test_one_that_no_waiting_job_has_the_time_for_ends_at_once() -> None:
    assert idle_pilots([IdlePilot("a", CHEAP, 0.0, is_spent=True)], GOES_ON, now=1.0) == [("a", "near its walltime")]
