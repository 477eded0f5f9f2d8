from __future__ import annotations

import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snakemake_executor_daskjq.model.pool import Pool
from snakemake_executor_daskjq.model.request import Request
from snakemake_executor_daskjq.policy import planner
from snakemake_executor_daskjq.policy.planner import SPAN_S, Demand, Supply, plan

POOL = Pool("main", "slurm", cores=4, mem_mb=4000, max_pilots=10)
BUSY = {"cores": 0.0, "mem_mb": 0.0}


def demand(jobs: int, expected_s: float, cores: int = 1, pool: str | None = None, **amounts: int) -> Demand:
    request = Request("k", 1, "rule", 1, {"cores": cores, **amounts}, pools=pool and (pool,))  # type: ignore[arg-type]
    return Demand(request, jobs, expected_s)


def wanted(demands: list[Demand], **supply: object) -> int:
    return plan(demands, [Supply(POOL, **supply)]).more.get("main", 0)  # type: ignore[arg-type]


def test_nothing_waits_nothing_is_requested() -> None:
    assert plan([], [Supply(POOL)]).more == {}


def test_many_short_jobs_share_one_pilot() -> None:
    assert wanted([demand(200, 1.0)]) == 1


def test_long_jobs_get_as_many_pilots_as_they_can_use_at_once() -> None:
    assert wanted([demand(12, 3600.0)]) == 3
    assert wanted([demand(12, 3600.0, cores=4)]) == 10


def test_memory_and_custom_amounts_bound_how_many_share_a_pilot() -> None:
    assert wanted([demand(12, 3600.0, mem_mb=3000)]) == 10
    licensed = Pool("main", "slurm", cores=4, mem_mb=4000, others={"licenses": 2})
    assert plan([demand(8, 3600.0, licenses=1)], [Supply(licensed)]).more == {"main": 4}


def test_pilots_in_the_batch_queue_count() -> None:
    assert wanted([demand(12, 3600.0)], coming=3) == 0
    assert wanted([demand(12, 3600.0)], coming=1) == 2


def test_what_running_pilots_will_have_free_counts() -> None:
    assert wanted([demand(8, 10.0)], running=1) == 0
    assert wanted([demand(8, 3600.0)], running=1, free=BUSY) == 2
    assert wanted([demand(8, 3600.0)], running=1, free={"cores": 1.0, "mem_mb": 1.0}) == 1


def test_one_pilot_however_little_there_is_to_do_but_none_more_for_a_trifle() -> None:
    assert wanted([demand(1, 0.001)]) == 1
    assert wanted([demand(1, 60.0)], running=1, free=BUSY) == 0  # a twentieth of a pilot
    assert wanted([demand(4, 60.0)], running=1, free=BUSY) == 1


def test_pilots_near_their_end_are_replaced() -> None:
    assert wanted([demand(1, 60.0)], running=1) == 0
    assert wanted([demand(1, 60.0)], ending=1) == 1
    assert wanted([demand(1, 60.0)], ending=10) == 0


def test_the_span_bounds_how_long_a_pilot_is_kept_busy() -> None:
    assert wanted([demand(40, SPAN_S / 10)]) == 1
    assert wanted([demand(400, SPAN_S / 10)]) == 10


def test_min_pilots_are_requested_while_there_is_work() -> None:
    pool = Pool("main", "slurm", cores=4, mem_mb=4000, min_pilots=3)
    assert plan([demand(1, 1.0)], [Supply(pool, running=1)]).more == {"main": 2}
    assert plan([], [Supply(pool)]).more == {}


def test_limits_of_the_queue_and_of_submissions() -> None:
    pool = Pool("main", "slurm", cores=4, mem_mb=4000, max_pilots=50, max_queued=5)
    assert plan([demand(400, 3600.0)], [Supply(pool, coming=2)]).more == {"main": 3}
    assert plan([demand(400, 3600.0)], [Supply(pool, submissions_left=1)]).more == {"main": 1}
    assert plan([demand(400, 3600.0)], [Supply(pool, submissions_left=0)]).more == {}


def test_each_job_goes_to_the_cheapest_pool_that_can_hold_it() -> None:
    big = Pool("big", "slurm", cores=32, mem_mb=64000, max_pilots=10)
    pools = [Supply(POOL), Supply(big)]
    assert plan([demand(1, 60.0, cores=16)], pools).more == {"big": 1}
    assert plan([demand(1, 60.0, pool="big")], pools).more == {"big": 1}
    assert plan([demand(4, 3600.0)], pools).more == {"main": 1}
    spot = Pool("spot", "slurm", cores=32, mem_mb=64000, cost_per_hour=1.0)
    assert plan([demand(32, 3600.0)], [*pools, Supply(spot)]).more == {"spot": 1}


def test_a_gpu_pilot_is_not_requested_for_what_needs_none() -> None:
    gpu = Pool("gpu", "slurm", cores=4, mem_mb=4000, others={"gpu": 1})
    assert plan([demand(4, 3600.0)], [Supply(gpu), Supply(POOL)]).more == {"main": 1}


def test_the_program_finds_what_greedy_misses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both kinds of job fit one large pilot together; each for itself is cheaper on a small one."""
    monkeypatch.setattr(planner, "SOLVE_S", 60.0)  # the answer counts here, also on a busy machine
    cpu = Pool("cpu", "slurm", cores=8, mem_mb=8000, cost_per_hour=6.0)
    mem = Pool("mem", "slurm", cores=2, mem_mb=64000, cost_per_hour=6.0)
    both = Pool("both", "slurm", cores=8, mem_mb=64000, cost_per_hour=8.0)
    supplies = [Supply(pool) for pool in (cpu, mem, both)]
    demands = [demand(6, 3600.0, cores=1, mem_mb=100), demand(1, 3600.0, cores=1, mem_mb=30000)]
    greedy = plan(demands, supplies, program=False)
    best = plan(demands, supplies)
    assert greedy.more == {"cpu": 1, "mem": 1}
    assert (best.more, best.method) == ({"both": 1}, "program")
    assert best.gap == pytest.approx(0, abs=1e-6)
    assert best.objective < greedy.objective
    assert greedy.gap is None  # not known without the program


def test_the_solver_is_not_imported_where_there_is_nothing_to_choose() -> None:
    code = (
        "import sys; from tests.unit.policy.test_planner import *\n"
        "plan([demand(12, 3600.0, cores=3), demand(5, 1.0)], [Supply(POOL)]); print('pulp' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "False\n"


pools = st.builds(
    lambda name, cores, mem, gpu, walltime, cost, most, queued: Pool(
        name,
        "slurm",
        cores=cores,
        mem_mb=mem,
        walltime_s=walltime,
        others={"licenses": gpu} if gpu else {},
        cost_per_hour=cost,
        max_pilots=most,
        max_queued=queued,
        min_pilots=min(most, 1),
    ),
    st.just(""),
    st.integers(1, 64),
    st.integers(1000, 256000),
    st.integers(0, 4),
    st.sampled_from([300, 3600, None]),
    st.one_of(st.none(), st.floats(0, 100)),
    st.integers(0, 20),
    st.one_of(st.none(), st.integers(0, 5)),
)
supplies = st.lists(
    st.tuples(pools, st.integers(0, 5), st.integers(0, 5), st.integers(0, 5), st.floats(0, 1), st.integers(0, 30)),
    min_size=1,
    max_size=4,
).map(
    lambda rows: [
        Supply(
            Pool(**{name: getattr(pool, name) for name in pool.__slots__} | {"name": f"p{i}"}),
            running,
            coming,
            ending,
            {"cores": running * free, "mem_mb": running * free, "licenses": running * free},
            left,
        )
        for i, (pool, running, coming, ending, free, left) in enumerate(rows)
    ]
)
demands = st.lists(
    st.builds(
        lambda jobs, expected, cores, mem, licenses, runtime, pool: Demand(
            Request(
                "k",
                1,
                "rule",
                1,
                {"cores": cores, **({"mem_mb": mem} if mem else {}), **({"licenses": licenses} if licenses else {})},
                runtime_s=runtime,
                pools=pool and (pool,),
            ),
            jobs,
            expected,
        ),
        st.integers(1, 10**5),
        st.floats(0, 10**5),
        st.integers(1, 16),
        st.integers(0, 64000),
        st.integers(0, 2),
        st.one_of(st.none(), st.integers(1, 4000)),
        st.sampled_from([None, None, None, "p0", "p1"]),
    ),
    max_size=6,
)


def objective(more: dict[str, int], demands: list[Demand], supplies: list[Supply]) -> float:
    """The price of requesting `more`: what the pilots cost in a span, and what is lost by what stays uncovered."""
    counts = [more.get(supply.pool.name, 0) for supply in supplies]
    return planner._price(counts, planner._digest(demands, supplies), supplies)


def check(demands: list[Demand], supplies: list[Supply], *, program: bool) -> None:
    answer = plan(demands, supplies, program=program)
    for supply in supplies:
        more, pool = answer.more.get(supply.pool.name, 0), supply.pool
        assert more >= 0
        if more:
            assert more + supply.running + supply.coming + supply.ending <= pool.max_pilots
            assert pool.max_queued is None or more + supply.coming <= pool.max_queued
            assert more <= supply.submissions_left
    assert answer.objective == pytest.approx(objective(answer.more, demands, supplies))
    if program:
        greedy = plan(demands, supplies, program=False)
        assert answer.objective <= greedy.objective + 1e-9
        assert answer.gap is not None
    if answer.gap is not None:  # what it says is a bound for any other answer as well
        for other in ({}, {supply.pool.name: supply.most for supply in supplies}):
            least = {s.pool.name: s.most for s in supplies} if other else {}
            if all(least.get(name, 0) >= n for name, n in answer.more.items()) or not answer.more:
                assert objective(other, demands, supplies) >= answer.objective * (1 - answer.gap) - 1e-6
    # Work that some pool could hold always has a pilot, or is to get one, unless the limits forbid it.
    for item in demands:
        request = item.request
        usable = [
            supply
            for supply in supplies
            if request.may_use(supply.pool.name)
            and all(n <= supply.pool.amounts.get(name, 0) for name, n in request.amounts.items())
            and (supply.pool.walltime_s is None or (request.runtime_s or 0) <= supply.pool.walltime_s)
        ]
        if any(supply.most for supply in usable):
            assert any(s.running + s.coming + answer.more.get(s.pool.name, 0) for s in usable)


@given(demands, supplies)
def test_limits_hold_and_work_always_has_a_pilot(demands: list[Demand], supplies: list[Supply]) -> None:
    check(demands, supplies, program=False)


@settings(max_examples=25)
@given(demands, supplies)
def test_the_program_is_never_worse_than_greedy(demands: list[Demand], supplies: list[Supply]) -> None:
    check(demands, supplies, program=True)


def test_a_round_with_many_kinds_of_work_takes_less_than_a_second() -> None:
    shapes = [(1 + i % 16, 500 * (1 + i % 37)) for i in range(2000)]
    demands = [demand(50, 10.0 + i, cores, mem_mb=mem) for i, (cores, mem) in enumerate(shapes)]
    supplies = [Supply(Pool(f"p{i}", "slurm", cores=8 * (i + 1), mem_mb=30000 * (6 - i))) for i in range(6)]
    started = time.process_time()
    answer = plan(demands, supplies)
    assert time.process_time() - started < 1
    assert answer.more
