from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_daskjq.policy.lifecycle import (
    FIRST_DELAY_S,
    GIVE_UP_AFTER,
    LONGEST_DELAY_S,
    LONGEST_PAUSE_S,
    PAUSE_S,
    Starts,
)


def test_failures_back_off_twice_as_long_each_time_up_to_a_limit() -> None:
    starts, now, delays = Starts(), 0.0, []
    for _ in range(GIVE_UP_AFTER + 3):
        starts = starts.failed("Socket timed out on send/recv operation", now)
        delays.append(starts.not_before - now)
        now = starts.not_before
    assert delays[:4] == [1.0, 2.0, 4.0, 8.0]
    assert max(delays) == LONGEST_DELAY_S


def test_it_gives_up_after_a_number_of_failures_in_a_row() -> None:
    starts, now = Starts(), 0.0
    for failures in range(1, GIVE_UP_AFTER + 1):
        assert not starts.given_up
        starts = starts.failed("busy", now)
        now = starts.not_before
        assert starts.failures == failures
    assert starts.given_up
    assert starts.words == "busy"


def test_a_pool_that_has_worked_pauses_ever_longer_and_is_given_up_after_a_night() -> None:
    starts, now, delays = Starts(has_worked=True), 0.0, []
    while not starts.given_up:
        starts = starts.failed("Socket timed out on send/recv operation", now)
        delays.append(starts.not_before - now)
        now = starts.not_before
    pauses = delays[GIVE_UP_AFTER - 1 :]
    assert pauses[:4] == [PAUSE_S, 2 * PAUSE_S, 4 * PAUSE_S, LONGEST_PAUSE_S]
    assert max(pauses) == LONGEST_PAUSE_S
    assert 8 * 3600 < now < 12 * 3600


def test_a_pool_that_has_worked_is_given_up_at_once_for_words_that_no_retry_mends() -> None:
    assert Starts(has_worked=True).failed("sbatch: error: invalid account or account/partition", 0.0).given_up


def test_pilots_that_fail_together_count_once() -> None:
    starts = Starts().failed("busy", 0.0)
    assert starts.failed("busy", 0.5) is starts


@pytest.mark.parametrize(
    "words",
    [
        "sbatch: error: invalid partition specified: nosuch",
        'Unable to run job: unknown resource "foo" Exiting.',
        'Unable to read script file because of error: invalid option argument "-frob"',
        'Unable to run job: Job was rejected because job requests unknown queue "nope" Exiting.',
        'Unable to run job: job rejected: the requested parallel environment "nope" does not exist Exiting.',
        "qsub: Unknown queue",
        "qsub: Unknown resource Resource_List.foo",
        "qsub: directive error: -e /a b/",
        'qsub: "-lresource=" cannot be used with "select" or "place", resource is: ngpus',
        "qsub: illegal -l value",
        "qsub: Unknown option",
        'the submit command succeeded without telling a job\'s id; it said: Your job 12 ("daskjq") has been submitted',
    ],
)
def test_words_that_no_retry_mends_give_up_at_once(words: str) -> None:
    assert Starts().failed(words, 0.0).given_up


@pytest.mark.parametrize(
    "words",
    [
        "error: commlib error: got select error (Connection refused) Unable to run job: unable to send message",
        "qsub: cannot connect to server host1 (errno=15010)",
        "batch job 74 failed to start: error: can't chdir to /nonexistent: No space left on device",
    ],
)
def test_other_words_are_tried_again(words: str) -> None:
    assert not Starts().failed(words, 0.0).given_up


@pytest.mark.parametrize(
    "words",
    [
        "sbatch: error: QOSMaxSubmitJobPerUserLimit sbatch: error: Batch job submission failed: Job violates "
        "accounting/QOS policy (job submit limit, user's size and/or time limits)",
        "sbatch: error: AssocMaxSubmitJobLimit",
        "qsub: would exceed queue generic's per-user limit",
        "sbatch: error: Batch job submission failed: Slurm temporarily unable to accept job, sleeping and retrying",
        "Unable to run job: job rejected: Only 10 jobs are allowed per user (current job count: 10).",
    ],
)
def test_a_full_queue_is_asked_again_for_ever_and_ever_more_seldom(words: str) -> None:
    starts, now = Starts(), 0.0
    for _ in range(3 * GIVE_UP_AFTER):
        starts = starts.failed(words, now)
        assert starts.full
        assert not starts.given_up
        now = starts.not_before
    assert starts.failed(words, now).not_before - now == LONGEST_DELAY_S


@given(st.lists(st.tuples(st.text(), st.floats(0, 1)), max_size=20))
def test_delays_stay_within_their_bounds_whatever_is_said(failures: list[tuple[str, float]]) -> None:
    starts, now = Starts(), 0.0
    for words, jitter in failures:
        starts = starts.failed(words, now, jitter)
        assert FIRST_DELAY_S <= starts.not_before - now <= 1.25 * LONGEST_DELAY_S + 1e-6
        now = starts.not_before
