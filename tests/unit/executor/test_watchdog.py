"""When a controller that does not answer is given up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_daskjq.executor.watchdog import PING_S, Verdict, Watchdog

PATIENCE_S = 10.0
gaps = st.lists(st.floats(0.01, PING_S), min_size=1, max_size=200)


def test_a_controller_that_answers_is_pinged_every_few_seconds_and_never_given_up() -> None:
    watchdog = Watchdog(PATIENCE_S, now=0.0)
    verdicts = []
    for second in range(1, 61):
        verdicts.append(watchdog.tick(float(second)))
        watchdog.answered()
    assert verdicts.count(Verdict.PING) == 20
    assert Verdict.HUNG not in verdicts


@given(gaps)
def test_one_that_does_not_is_given_up_after_its_patience_and_soon_then(gaps: list[float]) -> None:
    watchdog = Watchdog(PATIENCE_S, now=0.0)
    now, asked_at = 0.0, None
    for gap in gaps:
        now += gap
        verdict = watchdog.tick(now)
        if asked_at is None:
            assert verdict is (Verdict.PING if now >= PING_S - 1e-6 else Verdict.WAIT) or abs(now - PING_S) < 1e-6
            asked_at = now if verdict is Verdict.PING else None
        elif abs(now - asked_at - PATIENCE_S) > 1e-6:
            assert verdict is (Verdict.HUNG if now - asked_at > PATIENCE_S else Verdict.WAIT)


def test_a_machine_that_slept_says_nothing_about_its_controller() -> None:
    watchdog = Watchdog(PATIENCE_S, now=0.0)
    assert watchdog.tick(3.0) is Verdict.PING
    assert watchdog.tick(100_000.0) is Verdict.WAIT
    watchdog.answered()
    assert watchdog.tick(100_001.0) is Verdict.PING


def test_the_end_of_a_run_asks_at_once_and_has_less_patience() -> None:
    watchdog = Watchdog(60.0, now=0.0)
    watchdog.hurry(8.0)
    assert watchdog.tick(0.1) is Verdict.PING
    assert [watchdog.tick(now) for now in (3.0, 6.0, 8.0, 8.2)] == [Verdict.WAIT] * 3 + [Verdict.HUNG]


def test_a_ping_that_was_under_way_counts_anew_when_the_run_is_to_end() -> None:
    watchdog = Watchdog(60.0, now=0.0)
    assert watchdog.tick(3.0) is Verdict.PING
    assert [watchdog.tick(now) for now in (6.0, 9.0, 12.0)] == [Verdict.WAIT] * 3
    watchdog.hurry(8.0)
    assert [watchdog.tick(now) for now in (12.1, 15.0, 18.0, 19.9)] == [Verdict.WAIT] * 4
    assert watchdog.tick(20.1) is Verdict.HUNG


def test_one_that_could_not_answer_while_it_started_is_asked_anew() -> None:
    watchdog = Watchdog(300.0, now=0.0)
    assert watchdog.tick(3.0) is Verdict.PING
    assert {watchdog.tick(float(now)) for now in range(6, 90, 3)} == {Verdict.WAIT}
    watchdog.answered()  # it says that it is ready
    watchdog.patience_s = PATIENCE_S
    assert watchdog.tick(90.0) is Verdict.PING
    assert watchdog.tick(93.0) is Verdict.WAIT
