"""What pilots may have together."""

from __future__ import annotations

from snakemake_executor_daskjq.batch.base import Cause, Ended
from snakemake_executor_daskjq.errors import BudgetSpentError
from snakemake_executor_daskjq.model.pool import Pool
from snakemake_executor_daskjq.model.request import Request
from snakemake_executor_daskjq.policy import messages
from snakemake_executor_daskjq.policy.budget import Budget
from snakemake_executor_daskjq.policy.core import Core

from .core_player import START, Player

FOUR = Pool("main", "slurm", cores=4, mem_mb=4000, walltime_s=36000, max_pilots=9, idle_timeout_s=300)


def player(budget: Budget) -> Player:
    run = Player(FOUR)
    run.core = Core([FOUR], budget=budget)
    run.core.handle(messages.RunBegins(1, {}), now=START)
    return run


def jobs(count: int, first: int = 0) -> list[Request]:
    return [Request(f"{i}", i, "rule", 1, {"cores": 4}, runtime_s=3600) for i in range(first, first + count)]


def test_pilots_have_no_more_cores_than_they_may() -> None:
    run = player(Budget(max_cores=11))
    run.submit(*jobs(9))
    run.wait(30.0)
    assert len(run.requested) == 2
    for pilot in list(run.requested):
        run.connect(pilot)
    run.wait(60.0)
    assert len(run.requested) == 2


def test_a_pilot_that_ends_leaves_its_cores_to_another() -> None:
    run = player(Budget(max_cores=4))
    run.submit(*jobs(2))
    run.wait(30.0)
    assert len(run.requested) == 1
    run.hear(messages.PilotStartFailed(run.requested[0], "Socket timed out"))
    run.wait(30.0)
    assert len(run.requested) == 2


def test_no_pilot_is_requested_when_the_core_hours_are_spent_and_what_runs_goes_on() -> None:
    run = player(Budget(max_core_hours=2.0))
    run.submit(*jobs(1))
    run.connect(run.requested[0])
    run.wait(1801.0)
    run.submit(*jobs(2, first=1))
    run.wait(60.0)
    assert len(run.requested) == 1
    assert [words for words in run.warnings if "2 core-hours that they may" in words] == run.warnings
    assert len(run.warnings) == 1
    assert run.errors == []  # the pilot that there is runs them
    run.end("0")
    assert [key for key, _ in run.running] == ["1"]


def test_the_run_is_told_when_nothing_can_run_its_jobs_any_more() -> None:
    run = player(Budget(max_core_hours=0.5))
    run.submit(*jobs(1))
    run.connect(run.requested[0])
    run.wait(1801.0)
    run.submit(*jobs(1, first=1))
    run.lose(run.requested[0])
    run.hear(messages.PilotGone(run.requested[0], Ended("TIMEOUT", Cause.NO_FAULT)))
    run.wait(60.0)
    assert [type(error) for error in run.errors] == [BudgetSpentError]
