"""What becomes of a job that is submitted, where a run whose Snakemake has died had the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from snakemake_executor_daskjq.controller.left import Left
from snakemake_executor_daskjq.model.claim import Claim, LeftJob
from snakemake_executor_daskjq.model.outcome import End, Outcome
from snakemake_executor_daskjq.model.request import Request
from snakemake_executor_daskjq.policy import messages

OLD = Request("a-1-1", 1, "a", 1, {"cores": 1})
AGAIN = replace(OLD, run=2)
OTHER = replace(OLD, key="b-7-1@2", rule="b", run=2)


@pytest.fixture
def claim(tmp_path: Path) -> Claim:
    return Claim("what it does", (str(tmp_path / "out"),))


def left(claim: Claim, end: End | None = None) -> Left:
    """One job of a run whose Snakemake has died."""
    jobs = Left()
    assert jobs.submitted(OLD, claim) == messages.JobReplaces(OLD, ())
    if end is not None:
        jobs.ended(OLD, Outcome(end), "main-1")
    jobs.leave(1, "run-1")
    return jobs


def test_one_that_runs_goes_on(claim: Claim) -> None:
    jobs = left(claim)
    assert (jobs.running(), jobs.over_runs()) == (1, set())
    assert jobs.submitted(AGAIN, claim) == messages.JobTakenOver(AGAIN)
    assert (jobs.running(), jobs.over_runs()) == (0, {1})


@pytest.mark.parametrize("end", [End.SUCCEEDED, End.FAILED, End.OUT_OF_MEMORY, End.OVER_RUNTIME])
def test_one_that_has_ended_is_told_as_that(claim: Claim, end: End) -> None:
    Path(claim.outputs[0]).touch()
    assert left(claim, end).submitted(AGAIN, claim) == messages.JobHadEnded(AGAIN, Outcome(end), "main-1")


def test_one_whose_output_is_gone_runs_anew(claim: Claim) -> None:
    assert left(claim, End.SUCCEEDED).submitted(AGAIN, claim) == messages.JobsSubmitted((AGAIN,))


@pytest.mark.parametrize("end", [End.LOST, End.NOT_STARTED, End.WITHDRAWN])
def test_one_that_has_not_ended_by_itself_runs_anew(claim: Claim, end: End) -> None:
    assert left(claim, end).submitted(AGAIN, claim) == messages.JobReplaces(AGAIN, ())


def test_one_that_has_changed_is_ended_first(claim: Claim) -> None:
    assert left(claim).submitted(AGAIN, replace(claim, mark="something else")) == messages.JobReplaces(
        AGAIN, ("a-1-1",)
    )


def test_another_that_writes_the_same_comes_after_it(claim: Claim) -> None:
    jobs = left(claim)
    assert jobs.submitted(OTHER, claim) == messages.JobReplaces(OTHER, ("a-1-1",))
    assert jobs.over_runs() == {1}


def test_so_does_one_that_writes_the_same_log(claim: Claim) -> None:
    jobs = Left()
    jobs.submitted(OLD, replace(claim, logs=("/a.log",)))
    jobs.leave(1, "run-1")
    other = Claim("another", ("/elsewhere",), ("/a.log",))
    assert jobs.submitted(OTHER, other) == messages.JobReplaces(OTHER, ("a-1-1",))


def test_one_without_outputs_is_found_by_its_rule() -> None:
    claim = Claim("what it does", ())
    jobs = left(claim)
    assert jobs.jobs() == {"a": LeftJob("run-1", "a-1-1", 1, has_ended=False)}
    assert jobs.submitted(AGAIN, claim) == messages.JobTakenOver(AGAIN)
    assert jobs.jobs() == {}


def test_one_without_outputs_whose_end_was_reported_is_done() -> None:
    jobs = left(Claim("what it does", ()), End.SUCCEEDED)
    assert jobs.jobs() == {"a": LeftJob("run-1", "a-1-1", 1, has_ended=True)}
    jobs.reported(["a-1-1"])
    assert jobs.jobs() == {}


def test_others_are_found_by_each_of_their_outputs() -> None:
    jobs = left(Claim("what it does", ("/a", "/b")), End.FAILED)
    jobs.reported(["a-1-1"])
    assert jobs.jobs() == dict.fromkeys(("/a", "/b"), LeftJob("run-1", "a-1-1", 1, has_ended=True))


def test_a_run_is_over_when_its_last_job_has_ended(claim: Claim) -> None:
    jobs = left(claim)
    jobs.ended(OLD, Outcome(End.SUCCEEDED), "main-1")
    assert (jobs.running(), jobs.over_runs()) == (0, {1})


def test_jobs_of_runs_that_live_are_nobody_elses(claim: Claim) -> None:
    jobs = Left()
    jobs.submitted(OLD, claim)
    assert jobs.submitted(OTHER, claim) == messages.JobReplaces(OTHER, ())


def test_nothing_is_kept_of_a_run_that_has_ended_as_it_should(claim: Claim) -> None:
    jobs = Left()
    jobs.submitted(OLD, claim)
    jobs.ended(OLD, Outcome(End.SUCCEEDED), "main-1")
    jobs.over(1)
    jobs.leave(1, "run-1")
    assert jobs.submitted(AGAIN, claim) == messages.JobReplaces(AGAIN, ())


def test_what_can_start_nowhere_any_more_is_given_up(claim: Claim) -> None:
    jobs = left(claim)
    jobs.give_up(1)
    assert (jobs.running(), jobs.over_runs()) == (0, {1})
