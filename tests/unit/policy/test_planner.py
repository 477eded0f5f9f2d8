from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_daskjq.model.pool import Pool
from snakemake_executor_daskjq.model.request import Request
from snakemake_executor_daskjq.policy.planner import SPAN_S, Demand, plan

POOL = Pool("main", "slurm", cores=4, mem_mb=4000, max_pilots=10)


def demand(jobs: int, expected_s: float, cores: int = 1, pool: str | None = None) -> Demand:
    return Demand(Request("k", 1, "rule", 1, {"cores": cores}, pools=pool and (pool,)), jobs, expected_s)


def wanted(demands: list[Demand], running: int = 0, coming: int = 0, ending: int = 0) -> int:
    return plan(demands, [POOL], {"main": running}, {"main": coming}, {"main": ending}).get("main", 0)


def test_nothing_waits_nothing_is_requested() -> None:
    assert plan([], [POOL], {}, {}, {}) == {}


def test_many_short_jobs_share_one_pilot() -> None:
    assert wanted([demand(200, 1.0)]) == 1


def test_long_jobs_get_as_many_pilots_as_they_can_use_at_once() -> None:
    assert wanted([demand(12, 3600.0)]) == 3
    assert wanted([demand(12, 3600.0, cores=4)]) == 10


def test_pilots_in_the_batch_queue_count() -> None:
    assert wanted([demand(12, 3600.0)], coming=3) == 0
    assert wanted([demand(12, 3600.0)], coming=1) == 2


def test_busy_pilots_count_for_short_work_and_not_for_long() -> None:
    assert wanted([demand(8, 10.0)], running=1) == 0
    assert wanted([demand(8, 3600.0)], running=1) == 2


def test_one_pilot_however_little_there_is_to_do() -> None:
    assert wanted([demand(1, 0.001)]) == 1


def test_a_job_counts_for_the_first_pool_that_can_hold_it() -> None:
    big = Pool("big", "slurm", cores=32, mem_mb=64000)
    assert plan([demand(1, 60.0, cores=16)], [POOL, big], {}, {}, {}) == {"big": 1}
    assert plan([demand(1, 60.0, pool="big")], [POOL, big], {}, {}, {}) == {"big": 1}


@given(
    st.lists(st.builds(demand, st.integers(1, 10**5), st.floats(0, 10**5), st.integers(1, 4)), max_size=5),
    st.integers(0, 10),
    st.integers(0, 10),
    st.integers(0, 10),
)
def test_limits_hold_and_work_always_has_a_pilot(demands: list[Demand], running: int, coming: int, ending: int) -> None:
    more = wanted(demands, running, coming, ending)
    assert more >= 0
    assert more == 0 or more + running + coming + ending <= POOL.max_pilots
    if demands and ending < POOL.max_pilots:
        assert more + running + coming >= 1


def test_pilots_near_their_end_are_replaced() -> None:
    assert wanted([demand(1, 60.0)], running=1) == 0
    assert wanted([demand(1, 60.0)], ending=1) == 1
    assert wanted([demand(1, 60.0)], ending=10) == 0


def test_the_span_bounds_how_long_a_pilot_is_kept_busy() -> None:
    assert wanted([demand(40, SPAN_S / 10)]) == 1
    assert wanted([demand(400, SPAN_S / 10)]) == 10
