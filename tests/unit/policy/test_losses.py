from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_daskjq.policy.losses import (
    BAD_HOST_CRASHES,
    CRASH_BUDGET,
    LOSS_BUDGET,
    MOST_BAD_HOSTS,
    Losses,
    bad_hosts,
    is_crash,
)

HOWS = ["TIMEOUT", "PREEMPTED", "CANCELLED (signal 15)", "NODE_FAIL", "FAILED (exit status 1)", ""]


@given(st.lists(st.sampled_from(HOWS), max_size=30))
def test_a_job_is_given_up_for_crashes_or_for_very_many_losses_only(hows: list[str]) -> None:
    losses = Losses()
    for serial, how in enumerate(hows):
        losses = losses.with_one(f"main-{serial}", how, crash=is_crash(how))
    crashes = sum(how in ("NODE_FAIL", "FAILED (exit status 1)", "") for how in hows)
    assert losses.given_up == (crashes >= CRASH_BUDGET or len(hows) >= LOSS_BUDGET)
    assert all(f"main-{serial}" in losses.reason() for serial in range(len(hows)))


@given(st.dictionaries(st.sampled_from([f"n{i}" for i in range(40)]), st.integers(0, 9)), st.integers(0, 40))
def test_never_more_than_half_of_the_hosts_are_excluded(crashes: dict[str, int], known: int) -> None:
    bad = bad_hosts(crashes, range(known))  # type: ignore[arg-type]
    assert len(bad) <= min(MOST_BAD_HOSTS, known // 2)
    assert all(crashes[host] >= BAD_HOST_CRASHES for host in bad)
    assert [crashes[host] for host in bad] == sorted((crashes[host] for host in bad), reverse=True)
