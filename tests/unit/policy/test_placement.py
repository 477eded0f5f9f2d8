from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_daskjq.model.request import Request
from snakemake_executor_daskjq.policy.placement import ReadyQueue, Room, place

NOW = 1000.0


def queue(*requests: Request) -> ReadyQueue:
    ready = ReadyQueue()
    for request in requests:
        ready.push(request)
    return ready


def job(key: str, cores: int = 1, mem_mb: int = 0, **more: int | str | None) -> Request:
    wanted = {"cores": cores} | ({"mem_mb": mem_mb} if mem_mb else {})
    return Request(key, 1, "rule", 1, wanted, **more)  # type: ignore[arg-type]


requests = st.builds(
    lambda serial, cores, mem, gpu, runtime, pool, priority: Request(
        f"k{serial}",
        serial,
        "rule",
        1,
        {name: amount for name, amount in (("cores", cores), ("mem_mb", mem), ("gpu", gpu)) if amount},
        runtime_s=runtime,
        pools=pool and (pool,),
        priority=priority,
    ),
    st.integers(0, 10**6),
    st.integers(1, 8),
    st.integers(0, 9000),
    st.integers(0, 2),
    st.one_of(st.none(), st.integers(1, 4000)),
    st.sampled_from([None, None, "a", "b"]),
    st.integers(-2, 2),
)
rooms = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.integers(0, 8),
        st.integers(0, 9000),
        st.integers(0, 2),
        st.one_of(st.none(), st.floats(NOW, NOW + 5000)),
    ),
    max_size=6,
).map(
    lambda rows: [
        Room(f"p{i}", pool, {"cores": cores, "mem_mb": mem, "gpu": gpu}, ends_at)
        for i, (pool, cores, mem, gpu, ends_at) in enumerate(rows)
    ]
)


@given(st.lists(requests, max_size=30, unique_by=lambda r: r.key), rooms)
def test_nothing_is_placed_beyond_free_amounts_or_walltime(jobs: list[Request], where: list[Room]) -> None:
    before = {room.pilot: dict(room.free) for room in where}
    by_name = {room.pilot: room for room in where}
    ready = queue(*jobs)
    placed = place(ready, where, NOW)

    used: dict[str, dict[str, int]] = {pilot: dict.fromkeys(free, 0) for pilot, free in before.items()}
    for request, pilot in placed:
        room = by_name[pilot]
        assert request.may_use(room.pool)
        if request.runtime_s is not None and room.ends_at is not None:
            assert NOW + request.runtime_s <= room.ends_at + room.slack_s
        for name, amount in request.amounts.items():
            used[pilot][name] += amount
    for pilot, amounts in used.items():
        for name, amount in amounts.items():
            assert amount <= before[pilot][name]
            assert by_name[pilot].free[name] == before[pilot][name] - amount

    # Each job is either placed or still waiting, once; and none waits that would fit.
    left = ready.clear()
    assert sorted([r.key for r, _ in placed] + [r.key for r in left]) == sorted(r.key for r in jobs)
    assert not any(room.fits(request, NOW) for request in left for room in where)


def test_a_job_as_long_as_the_walltime_fits_a_pilot_that_has_just_connected() -> None:
    room = Room("p", "a", {"cores": 1}, ends_at=NOW + 600, slack_s=60)
    assert place(queue(job("x", runtime_s=600)), [room], NOW + 59) != []
    room.give_back({"cores": 1})
    assert place(queue(job("x", runtime_s=600)), [room], NOW + 61) == []


def test_best_fit_keeps_other_pilots_whole() -> None:
    where = [Room("wide", "a", {"cores": 8}), Room("tight", "a", {"cores": 2})]
    assert place(queue(job("x", 2)), where, NOW) == [(job("x", 2), "tight")]


def test_priority_goes_before_size_and_size_before_age() -> None:
    where = [Room("p", "a", {"cores": 4})]
    ready = queue(job("old"), job("wide", 3), job("urgent", 1, priority=5))
    assert [request.key for request, _ in place(ready, where, NOW)] == ["urgent", "wide"]


def test_within_a_shape_priority_then_first_come() -> None:
    ready = queue(job("a"), job("b"), job("c", priority=1))
    placed = place(ready, [Room("p", "a", {"cores": 2})], NOW)
    assert [request.key for request, _ in placed] == ["c", "a"]


def test_a_blocked_shape_does_not_block_others() -> None:
    ready = queue(job("huge", 16), job("small"))
    assert [r.key for r, _ in place(ready, [Room("p", "a", {"cores": 1})], NOW)] == ["small"]
    assert len(ready) == 1


def test_booking_beyond_what_is_free_is_a_defect() -> None:
    with pytest.raises(ValueError, match="cores=2 asked, 1 free"):
        Room("p", "a", {"cores": 1}).take({"cores": 2})
