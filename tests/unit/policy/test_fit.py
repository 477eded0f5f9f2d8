"""Whether a job fits is one answer, whoever asks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_daskjq.errors import InfeasibleRequestError
from snakemake_executor_daskjq.model.pool import Pool
from snakemake_executor_daskjq.model.request import Request
from snakemake_executor_daskjq.policy.fit import could_hold, misfits
from snakemake_executor_daskjq.policy.placement import place
from snakemake_executor_daskjq.policy.planner import Demand, Supply, plan
from snakemake_executor_daskjq.policy.queue import ReadyQueue
from snakemake_executor_daskjq.policy.rooms import Ledger, Room
from snakemake_executor_daskjq.resources.mapping import check_feasible

NOW = 1000.0

pools = st.builds(
    lambda cores, mem_mb, walltime_s, gpus: Pool(
        "main", "slurm", cores=cores, mem_mb=mem_mb, walltime_s=walltime_s, others={"gpu": gpus} if gpus else {}
    ),
    st.integers(1, 8),
    st.integers(1, 9000),
    st.one_of(st.none(), st.integers(60, 9000)),
    st.integers(0, 2),
)
requests = st.builds(
    lambda cores, mem_mb, gpu, runtime_s, allowed: Request(
        "a",
        1,
        "a",
        1,
        {name: n for name, n in (("cores", cores), ("mem_mb", mem_mb), ("gpu_percent", gpu)) if n},
        runtime_s,
        allowed,
    ),
    st.integers(1, 9),
    st.integers(0, 9999),
    st.sampled_from([0, 0, 50, 100, 300]),
    st.one_of(st.none(), st.integers(1, 9999)),
    st.sampled_from([None, None, ("main",)]),
)


@given(requests, pools)
def test_admission_planner_and_placement_agree_on_a_new_pilot(request: Request, pool: Pool) -> None:
    admitted = True
    try:
        check_feasible(request, [pool])
    except InfeasibleRequestError:
        admitted = False
    ledger, ready = Ledger(), ReadyQueue()
    ledger.add(Room.of_new_pilot("p", pool, NOW))
    ready.push(request, NOW)
    planned = plan([Demand(request, 1, 10.0)], [Supply(pool)]).more
    assert admitted == could_hold(request, pool) == bool(planned) == bool(place(ready, ledger, NOW))


@given(requests, pools, st.floats(0, 20000))
def test_what_fits_a_pilot_later_fitted_it_before(request: Request, pool: Pool, later_s: float) -> None:
    room = Room.of_new_pilot("p", pool, NOW)
    if room.fits(request, NOW + later_s):
        assert room.fits(request, NOW)


def test_all_that_is_short_is_told() -> None:
    job = Request("a", 1, "a", 1, {"cores": 2, "mem_mb": 500, "licenses": 1}, runtime_s=700)
    found = misfits(job, {"cores": 1, "mem_mb": 900}, left_s=600.0, walltime_s=600.0, slack_s=200.0)
    assert [(misfit.resource, misfit.asked, misfit.offered) for misfit in found] == [
        ("cores", 2, 1),
        ("licenses", 1, 0),
        ("runtime", 700, 600),
    ]


def test_an_expected_time_counts_only_as_far_as_a_new_pilot_has_it() -> None:
    job = Request("a", 1, "a", 1, {"cores": 1})
    free = {"cores": 1}
    assert misfits(job, free, left_s=50.0, walltime_s=600.0, expected_s=100.0)
    assert not misfits(job, free, left_s=50.0, walltime_s=600.0, expected_s=900.0)  # no pilot has the time for it
    assert not misfits(job, free, left_s=None, expected_s=900.0)
