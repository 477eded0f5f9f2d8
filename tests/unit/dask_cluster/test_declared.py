"""What workers declare: numbers of any kind under any name, and every one of them ends up somewhere."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from snakemake_executor_daskjq.dask_cluster import declared
from snakemake_executor_daskjq.errors import InfeasibleRequestError
from snakemake_executor_daskjq.model.pool import Pool
from snakemake_executor_daskjq.policy.fit import misfits_new_pilot
from snakemake_executor_daskjq.resources import mapping

NAMES = st.sampled_from(["GPU", "gpu", "gpus", "licenses", "disk_mb", "cores", "mem_mb", "x"])
AMOUNTS = st.one_of(st.integers(0, 10**12), st.floats(-1, 1e300), st.just(float("inf")), st.just(float("nan")))


def worker(**resources: float) -> dict[str, Any]:
    return {"nthreads": 2, "memory_limit": 10**9, "resources": resources}


def pool(declares: dict[str, Any]) -> Pool:
    return Pool("workers", "dask", **declared.as_pool(declared.offered(declares)))


@given(st.dictionaries(NAMES, AMOUNTS))
@example({"GPU": 0})
@example({"GPU": 0.5})
@example({"GPU": 0.001})
@example({"GPU": 1.5})
@example({"licenses": 0.5})
def test_a_worker_is_of_the_kind_that_its_pool_describes(resources: dict[str, float]) -> None:
    """Otherwise no worker ever takes the part of the pool's pilots, and jobs wait for ever."""
    declares = worker(**resources)
    assert pool(declares).amounts == declared.offered(declares)
    assert all(type(amount) is int and amount >= 0 for amount in pool(declares).amounts.values())


@given(st.dictionaries(NAMES, st.floats(0, 1000)), st.data())
def test_what_is_offered_dask_can_give(resources: dict[str, float], data: st.DataObject) -> None:
    """A future that asks for more than its worker declares waits in no-worker for ever."""
    declares = worker(**resources)
    offer = declared.offered(declares)
    amounts = {name: data.draw(st.integers(0, amount), name) for name, amount in offer.items()}
    for name, asked in declared.share(resources, amounts).items():
        assert 0 < asked <= resources[name]


@pytest.mark.parametrize("resources", [{}, {"GPU": 0}, {"GPU": 0.5}, {"GPU": 0.999}])
def test_a_gpu_that_no_worker_has_is_refused(resources: dict[str, float]) -> None:
    with pytest.raises(InfeasibleRequestError, match=r"Rule a asks for gpu=1, but the largest pilot offers 0"):
        mapping.request_of({"_cores": 1, "gpu": 1}, [pool(worker(**resources))], rule="a")


def test_a_share_of_a_gpu_fits_a_worker_that_declares_as_much() -> None:
    half = pool(worker(GPU=0.5))
    request = mapping.request_of({"_cores": 1, "gpu": "0.5"}, [half], rule="a")
    assert misfits_new_pilot(request, half) == []
    assert declared.share(["GPU"], request.amounts) == {"GPU": 0.5}


@pytest.mark.parametrize("amount", [0, 0.5])
def test_a_job_that_asks_for_what_is_declared_and_not_there_is_refused(amount: float) -> None:
    with pytest.raises(InfeasibleRequestError, match=r"licenses=1, but the largest pilot offers 0"):
        mapping.request_of({"_cores": 1, "licenses": 1}, [pool(worker(licenses=amount))], rule="a")


def test_hundredths_of_a_gpu_are_counted_exactly() -> None:
    assert all(declared.offered(worker(GPU=percent / 100))["gpu_percent"] == percent for percent in range(1001))
    assert all(declared.used({}, {"GPU": percent / 100}) == {"gpu_percent": percent} for percent in range(1001))
