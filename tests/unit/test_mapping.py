from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from snakemake_executor_daskjq.errors import (
    ClosedPoolsError,
    InfeasibleRequestError,
    ResourceError,
    TooFewWorkersError,
    UnknownPoolError,
)
from snakemake_executor_daskjq.model.machine_view import GPU_NAMES
from snakemake_executor_daskjq.model.pool import Pool
from snakemake_executor_daskjq.model.request import Request
from snakemake_executor_daskjq.policy.fit import misfits_new_pilot
from snakemake_executor_daskjq.resources.mapping import amounts, check_feasible, open_pools, request_of

SMALL = Pool("small", "slurm", cores=4, mem_mb=4000, walltime_s=300)
LARGE = Pool("large", "slurm", cores=2, mem_mb=64000, walltime_s=3600, others={"gpu": 1})


def request(runtime_s: int | None = None, pool: str | None = None, **wanted: int) -> Request:
    return Request("key", 1, "align", 1, wanted, runtime_s=runtime_s, pools=pool and (pool,))


@pytest.mark.parametrize("name", GPU_NAMES)
def test_all_names_of_gpus_mean_the_same(name: str) -> None:
    assert amounts({"_cores": 1, name: 2})["gpu_percent"] == 200


def test_mem_mb_wins_over_mem() -> None:
    assert amounts({"_cores": 1, "mem_mb": 700, "mem": "2 GB"})["mem_mb"] == 700


def test_undeclared_resources_stay_snakemakes_own() -> None:
    assert amounts({"_cores": 1, "io": 50, "disk_mb": 9}) == {"cores": 1}


values = st.one_of(st.integers(0, 10**9), st.text(), st.none(), st.booleans(), st.floats(0, 1e9))


@given(st.dictionaries(st.one_of(st.text(), st.sampled_from(["_cores", "mem", "mem_mb", "gpu", "disk"])), values))
@example({"_cores": "²", "mem": "²", "gpu": "²"})
def test_any_resources_map_to_whole_amounts_with_a_core(resources: dict[str, object]) -> None:
    mapped = amounts(resources)
    assert mapped["cores"] >= 1
    assert all(isinstance(amount, int) and amount > 0 for amount in mapped.values())


def test_what_fits_one_pool_is_feasible() -> None:
    check_feasible(request(cores=4, mem_mb=100), [LARGE, SMALL])
    check_feasible(request(cores=1, gpu_percent=100, runtime_s=3600), [SMALL, LARGE])


@pytest.mark.parametrize(
    ("wanted", "resource", "amount", "largest"),
    [
        (request(cores=8), "cores", 8, 4),
        (request(cores=1, mem_mb=99000), "mem_mb", 99000, 64000),
        (request(cores=1, gpu_percent=200), "gpu_percent", 200, 100),
        (request(cores=1, runtime_s=7200), "runtime", 7200, 3600),
        (request(cores=1, mem_mb=5000, pool="small"), "mem_mb", 5000, 4000),
        (request(cores=4, mem_mb=5000), "mem_mb", 5000, 4000),  # each pool lacks something else
    ],
)
def test_what_no_pilot_can_hold_is_named(wanted: Request, resource: str, amount: int, largest: int) -> None:
    with pytest.raises(InfeasibleRequestError) as caught:
        check_feasible(wanted, [SMALL, LARGE])
    error = caught.value
    assert (error.rule, error.resource, error.amount, error.largest_offer) == ("align", resource, amount, largest)
    shown = ("gpu", "2", "1") if resource == "gpu_percent" else (resource, str(amount), str(largest))
    for part in ("align", *shown):
        assert part in str(error)
    assert ("of the pools that it may use (small)" in str(error)) == (wanted.pools == ("small",))


def test_an_unknown_pool_is_named_with_the_known_ones() -> None:
    with pytest.raises(UnknownPoolError, match=r"huge.*small, large"):
        open_pools("align", {"daskjq_pool": "huge"}, [SMALL, LARGE])


def test_rules_and_labels_open_pools_and_slurms_words_select_among_them() -> None:
    main = Pool("main", "slurm", queue="main", account="lab")
    short = Pool("short", "slurm", queue="short", directives=("--constraint=avx2",))
    paid = Pool("paid", "slurm", labels=("paid",), constraint="ib")
    align = Pool("align", "slurm", rules=("align*", "sort"))
    pools = [main, short, paid, align]
    for rule, resources, names in [
        ("map", {}, ("main", "short")),
        ("align_all", {"daskjq_labels": "fast, paid"}, None),
        ("map", {"slurm_partition": "short"}, ("short",)),
        ("map", {"slurm_partition": "other,main"}, ("main",)),
        ("map", {"slurm_account": "lab", "constraint": "avx2"}, ("main",)),  # none offers both: the account wins
        ("map", {"constraint": "ib"}, ("main", "short")),  # closed without its label
        ("map", {"constraint": "ib", "daskjq_labels": "paid"}, ("paid",)),
        ("sort", {"daskjq_pool": "align"}, ("align",)),
    ]:
        assert open_pools(rule, resources, pools) == names
    assert open_pools("group", {}, pools, members=["align1", "sort"]) == ("main", "short", "align")
    assert open_pools("align", {}, pools, members=["align1", "map"]) == ("main", "short")
    with pytest.raises(
        ClosedPoolsError, match=r"Rule map may use no pool \(align: it is for the rules align\*, sort\)"
    ):
        open_pools("map", {"daskjq_pool": "align"}, pools)


def test_equal_limits_fit() -> None:
    assert misfits_new_pilot(request(cores=4, mem_mb=4000, runtime_s=300), SMALL) == []


HERE = Pool("local", "local", cores=2, mem_mb=8000, others={"gpu": 1, "licenses": 2})


@given(st.dictionaries(st.sampled_from(["_cores", "mem_mb", "licenses", "runtime", *GPU_NAMES]), st.integers(0, 10**9)))
def test_this_machine_refuses_nothing_and_holds_what_it_has(resources: dict[str, object]) -> None:
    asked = amounts(resources, ["licenses"])
    found = request_of({**resources, "daskjq_pool": "large"}, [HERE], rule="a")
    assert misfits_new_pilot(found, HERE) == []
    assert {**found.amounts, **found.beyond} == asked
    assert all(found.amounts.get(name, 0) == HERE.amounts.get(name, 0) < asked[name] for name in found.beyond)


def test_beside_a_batch_system_this_machine_takes_no_more_than_it_has() -> None:
    with pytest.raises(InfeasibleRequestError, match="mem_mb=99000"):
        request_of({"_cores": 1, "mem_mb": 99000}, [HERE, SMALL], rule="a")
    with pytest.raises(UnknownPoolError):
        request_of({"_cores": 1, "daskjq_pool": "huge"}, [HERE, SMALL], rule="a")


@pytest.mark.parametrize(
    ("resources", "named"),
    [
        ({"dask_workers": "eight"}, "dask_workers='eight'"),
        ({"dask_workers": -1}, "dask_workers=-1"),
        ({"dask_workers": 2, "dask_worker_mem_mb": "much"}, "dask_worker_mem_mb='much'"),
    ],
)
def test_dask_workers_that_are_no_number_are_refused(resources: dict[str, object], named: str) -> None:
    with pytest.raises(ResourceError, match=named):
        request_of({"_cores": 1, **resources}, [SMALL], rule="a")


def test_sizes_of_dask_workers_may_have_units() -> None:
    workers = request_of({"_cores": 1, "dask_workers": 2, "dask_worker_mem": "1.5 GB"}, [SMALL], rule="a").workers
    assert workers is not None
    assert workers.amounts == {"cores": 1, "mem_mb": 1500}


@pytest.mark.parametrize(
    ("runtime", "workers"),
    [(None, 4 * 10 + 2 * 10 - 1), (30, 2 * 10 - 1)],  # pilots of `small` run for five minutes
)
def test_more_workers_than_all_pilots_can_hold_are_refused(runtime: int | None, workers: int) -> None:
    resources = {"_cores": 1, "dask_workers": 1000, "runtime": runtime}
    assert request_of({**resources, "dask_workers_min": workers}, [SMALL, LARGE], rule="a").workers is not None
    with pytest.raises(TooFewWorkersError, match=f"room for {workers}. Lower dask_workers_min"):
        request_of({**resources, "dask_workers_min": workers + 1}, [SMALL, LARGE], rule="a")


def test_dask_workers_hold_one_node_each() -> None:
    wide = Pool("wide", "slurm", cores=4, mem_mb=4000, walltime_s=300, nodes=2)
    request = request_of({"_cores": 1, "nodes": 2, "dask_workers": 2}, [SMALL, wide], rule="a")
    assert request.pools == ("wide",)
    assert request.workers is not None
    assert request.workers.pools == ("small",)


def test_those_of_a_group_have_none_beside_it() -> None:
    assert request_of({"_cores": 1, "dask_workers": 2}, [SMALL], rule="g", members=["a", "b"]).workers is None
