from __future__ import annotations

from snakemake_executor_daskjq.model.request import Outlook, Request
from snakemake_executor_daskjq.model.usage import Usage
from snakemake_executor_daskjq.policy.estimates import UNKNOWN_RUNTIME_S, Estimates

EARLIER = {"align": Usage(3, 100.0, 90.0, 4000.0, 1.0)}


def test_this_run_goes_before_what_is_stated_and_that_before_earlier_runs() -> None:
    estimates = Estimates(EARLIER)
    assert estimates.expected_s("other") is None
    assert estimates.expected_s("align") == 100.0
    assert estimates.expected_s("align", 600) == 600
    estimates.job_ended("align", 20.0)
    estimates.job_ended("align", 40.0)
    assert estimates.expected_s("align", 600) == 30.0


def test_short_jobs_wait_at_the_pilot_for_as_long_as_a_round_trip_takes() -> None:
    estimates = Estimates({})
    assert estimates.ahead_of("a") == 0  # nothing is known of it
    for rule, wall_s in (("a", 0.005), ("b", 0.02), ("c", 0.2), ("d", 0.3)):
        estimates.job_ended(rule, wall_s)
    assert [estimates.ahead_of(rule) for rule in "abcd"] == [1, 1, 1, 0]  # one says little
    for rule, wall_s in (("a", 0.005), ("b", 0.02), ("c", 0.2), ("d", 0.3)):
        for _ in range(19):
            estimates.job_ended(rule, wall_s)
    assert [estimates.ahead_of(rule) for rule in "abcd"] == [4, 3, 1, 0]
    for wall_s in (*[0.005] * 99, 2.0):  # in the mean still short, but others would wait for such a one
        estimates.job_ended("a", wall_s)
    assert estimates.ahead_of("a") == 1


def test_memory_of_earlier_runs_with_a_margin() -> None:
    assert Estimates(EARLIER).memory_mb("align") == 5000
    assert Estimates(EARLIER).memory_mb("other") is None


def test_what_becomes_ready_soon() -> None:
    estimates = Estimates({})
    assert not estimates.is_all_submitted  # nothing is known yet
    estimates.learn(Outlook({"a": 2, "b": 3, "c": 1}, {"a": frozenset("b"), "b": frozenset("c")}))
    for _ in range(2):
        estimates.submitted("a")
    assert estimates.soon({"a": 50.0}, until=60.0) == 3
    assert estimates.soon({"a": 70.0}, until=60.0) == 0
    assert estimates.soon({"b": 50.0}, until=60.0) == 1
    for rule in "bbbc":
        assert not estimates.is_all_submitted
        estimates.submitted(rule)
    assert estimates.is_all_submitted


def test_a_waiting_job_counts_with_the_work_that_it_opens_the_way_to() -> None:
    estimates = Estimates({"a": Usage(1, 20.0, 0, 0, 0), "b": Usage(1, 200.0, 0, 0, 0), "c": Usage(1, 40.0, 0, 0, 0)})
    estimates.learn(Outlook({"a": 4, "b": 4, "c": 1}, {"a": frozenset("b"), "b": frozenset("ca"), "c": frozenset()}))
    for _ in range(4):
        estimates.submitted("a")
    small = Request("a-1", 1, "a", 1, {"cores": 1})
    large = Request("a-2", 2, "a", 1, {"cores": 2})
    (one, other) = estimates.demands([(small, 1, 20.0), (large, 3, 20.0)], {}, now=0.0)
    assert one.expected_s == other.expected_s == 20 + (4 * 200 + 40) / 4
    (alone,) = estimates.demands([(Request("c", 3, "c", 1, {"cores": 1}), 1, 40.0)], {"c": 0.0}, now=50.0)
    assert alone.expected_s == 50  # nothing follows; its running one has taken longer than expected


def test_with_checkpoints_nobody_knows_what_is_to_come() -> None:
    estimates = Estimates({})
    estimates.learn(Outlook({}, {}, is_open_ended=True))
    assert not estimates.is_all_submitted


def test_urgency_is_the_longest_way_to_the_end() -> None:
    estimates = Estimates(EARLIER)
    follows = {"split": frozenset({"align", "count"}), "align": frozenset({"merge"}), "merge": frozenset({"merge"})}
    estimates.learn(Outlook({}, follows))
    assert estimates.urgency_s("split", now=0.0) == UNKNOWN_RUNTIME_S + 100.0 + UNKNOWN_RUNTIME_S
    assert estimates.urgency_s("count", now=0.0) == UNKNOWN_RUNTIME_S
    estimates.job_ended("merge", 7.0)
    assert estimates.urgency_s("align", now=20.0) == 107.0
