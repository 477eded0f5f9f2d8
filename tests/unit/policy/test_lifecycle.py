from __future__ import annotations

from snakemake_executor_daskjq.policy.lifecycle import GIVE_UP_AFTER, LONGEST_DELAY_S, Starts


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


def test_pilots_that_fail_together_count_once() -> None:
    starts = Starts().failed("busy", 0.0)
    assert starts.failed("busy", 0.5) is starts


def test_words_that_no_retry_mends_give_up_at_once() -> None:
    words = "sbatch: error: invalid partition specified: nosuch"
    assert Starts().failed(words, 0.0).given_up
