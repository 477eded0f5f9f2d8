from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_daskjq.batch.base import Cause
from snakemake_executor_daskjq.policy.losses import (
    BAD_HOST_CRASHES,
    CRASH_BUDGET,
    LOSS_BUDGET,
    MOST_BAD_HOSTS,
    Losses,
    bad_hosts,
)


@given(st.lists(st.sampled_from(Cause), max_size=30))
def test_a_job_is_given_up_for_crashes_or_for_very_many_losses_only(causes: list[Cause]) -> None:
    losses = Losses()
    for serial, cause in enumerate(causes):
        losses = losses.with_one(f"main-{serial}", "its end", crash=cause is Cause.CRASH)
    assert losses.given_up == (causes.count(Cause.CRASH) >= CRASH_BUDGET or len(causes) >= LOSS_BUDGET)
    assert all(f"main-{serial}" in losses.reason() for serial in range(len(causes)))


@given(st.dictionaries(st.sampled_from([f"n{i}" for i in range(40)]), st.integers(0, 9)), st.integers(0, 40))
def test_never_more_than_half_of_the_hosts_are_excluded(crashes: dict[str, int], known: int) -> None:
    bad = bad_hosts(crashes, range(known))  # type: ignore[arg-type]
    assert len(bad) <= min(MOST_BAD_HOSTS, known // 2)
    assert all(crashes[host] >= BAD_HOST_CRASHES for host in bad)
    assert [crashes[host] for host in bad] == sorted((crashes[host] for host in bad), reverse=True)
