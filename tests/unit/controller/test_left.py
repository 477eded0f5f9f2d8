"""What becomes of a job that is submitted, where a run whose Snakemake has died had the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from snakemake_executor_daskjq.controller.left import Left, Place
from snakemake_executor_daskjq.errors import TakenOverError
from snakemake_executor_daskjq.model.claim import Claim, LeftJob
from snakemake_executor_daskjq.model.outcome import End, Outcome
from snakemake_executor_daskjq.model.request import Request
from snakemake_executor_daskjq.policy import messages

PLACE = Place("run-1", "base")
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
    jobs.leave(1, PLACE)
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
    jobs.leave(1, PLACE)
    other = Claim("another", ("/elsewhere",), ("/a.log",))
    assert jobs.submitted(OTHER, other) == messages.JobReplaces(OTHER, ("a-1-1",))


def test_one_without_outputs_is_found_by_its_rule() -> None:
    claim = Claim("what it does", (), name="a of Snakefile in folder")
    jobs = left(claim)
    assert jobs.jobs("another") == {}
    assert jobs.jobs("base") == {"a of Snakefile in folder": LeftJob("run-1", "a-1-1", 1, has_ended=False)}
    assert jobs.submitted(AGAIN, claim) == messages.JobTakenOver(AGAIN)
    assert jobs.jobs("base") == {}


def test_one_without_outputs_whose_end_was_reported_is_done() -> None:
    jobs = left(Claim("what it does", (), name="a"), End.SUCCEEDED)
    assert jobs.jobs("base") == {"a": LeftJob("run-1", "a-1-1", 1, has_ended=True)}
    jobs.reported(["a-1-1"])
    assert jobs.jobs("base") == {}


def test_others_are_found_by_each_of_their_outputs() -> None:
    jobs = left(Claim("what it does", ("/a", "/b")), End.FAILED)
    jobs.reported(["a-1-1"])
    assert jobs.jobs("base") == dict.fromkeys(("/a", "/b"), LeftJob("run-1", "a-1-1", 1, has_ended=True))


def test_a_run_is_over_when_its_last_job_has_ended(claim: Claim) -> None:
    jobs = left(claim)
    jobs.ended(OLD, Outcome(End.SUCCEEDED), "main-1")
    assert (jobs.running(), jobs.over_runs()) == (0, {1})


def test_two_runs_can_not_have_the_same(claim: Claim) -> None:
    jobs = left(claim)
    jobs.submitted(AGAIN, claim)
    with pytest.raises(TakenOverError, match="A job of rule a, which a killed Snakemake has left, is another run's"):
        jobs.check([replace(AGAIN, run=3)])


def test_one_that_is_being_ended_is_waited_for_by_whoever_comes(claim: Claim) -> None:
    """The run for which it is ended may itself end before that."""
    jobs = left(claim)
    changed = replace(claim, mark="something else")
    assert jobs.submitted(OTHER, changed) == messages.JobReplaces(OTHER, ("a-1-1",))
    jobs.ends(2)
    third = replace(OTHER, key="a-1-1@3", run=3)
    assert jobs.submitted(third, changed) == messages.JobReplaces(third, ("a-1-1", "b-7-1@2"))
    jobs.over(2)
    jobs.over(1)
    fourth = replace(OTHER, key="a-1-1@4", run=4)
    jobs.ends(3)
    jobs.over(3)
    assert jobs.submitted(fourth, changed) == messages.JobReplaces(fourth, ())


def test_what_is_given_up_is_waited_for_until_its_run_is_over(claim: Claim) -> None:
    jobs = left(claim)
    jobs.give_up(1)
    assert jobs.over_runs() == {1}
    assert jobs.submitted(OTHER, claim) == messages.JobReplaces(OTHER, ("a-1-1",))
    jobs.over(1)
    third = replace(OTHER, key="b-7-1@3", run=3)
    jobs.ends(2)
    jobs.over(2)
    assert jobs.submitted(third, claim) == messages.JobReplaces(third, ())


def test_what_another_has_written_since_is_of_no_interest_any_more(claim: Claim) -> None:
    Path(claim.outputs[0]).touch()
    jobs = left(claim, End.SUCCEEDED)
    jobs.submitted(OTHER, claim)  # it runs once more, and does not come to its end
    jobs.ends(2)
    jobs.over(2)
    assert jobs.jobs("base") == {}
    assert jobs.submitted(replace(AGAIN, run=3), claim) == messages.JobReplaces(replace(AGAIN, run=3), ())


def test_what_snakemake_has_heard_of_long_ago_as_successful_is_done(claim: Claim) -> None:
    jobs = Left()
    for key, end, at in (
        ("old", End.SUCCEEDED, 1000.0),
        ("failed", End.FAILED, 1000.0),
        ("unheard", End.SUCCEEDED, 1000.0),
        ("new", End.SUCCEEDED, 5000.0),
    ):
        request = replace(OLD, key=key)
        jobs.submitted(request, replace(claim, outputs=(key,)))
        jobs.ended(request, Outcome(end, ended_at=at), "main-1")
    jobs.reported(["old", "failed", "new"])
    jobs.leave(1, PLACE)
    assert jobs.jobs("base").keys() == {"failed", "unheard", "new"}


def test_jobs_of_runs_that_live_are_nobody_elses(claim: Claim) -> None:
    jobs = Left()
    jobs.submitted(OLD, claim)
    assert jobs.submitted(OTHER, claim) == messages.JobReplaces(OTHER, ())


def test_nothing_is_kept_of_a_run_that_has_ended_as_it_should(claim: Claim) -> None:
    jobs = Left()
    jobs.submitted(OLD, claim)
    jobs.ended(OLD, Outcome(End.SUCCEEDED), "main-1")
    jobs.over(1)
    jobs.leave(1, PLACE)
    assert jobs.submitted(AGAIN, claim) == messages.JobReplaces(AGAIN, ())


def test_what_can_start_nowhere_any_more_is_given_up(claim: Claim) -> None:
    jobs = left(claim)
    jobs.give_up(1)
    assert (jobs.running(), jobs.over_runs()) == (0, {1})
