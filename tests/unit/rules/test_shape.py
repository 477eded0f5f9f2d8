"""The workers of a rule's own Dask cluster."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_daskjq.model.machine_view import usable_mb
from snakemake_executor_daskjq.rules.shape import SMALLEST_WORKER_MB, ShapeError, shape_of

threads = st.integers(1, 256)
memory = st.none() | st.floats(10, 10**6)
own = st.floats(0, 2000)


@given(st.sampled_from([None, "", "threads", "processes"]), threads, memory, own)
def test_workers_stay_inside_what_the_rule_has(
    wanted: str | None, cores: int, mem_mb: float | None, own_mb: float
) -> None:
    shape = shape_of(wanted, cores, mem_mb, own_mb)
    assert 1 <= shape.workers * shape.threads <= cores
    if mem_mb is None:
        assert shape.memory_mb is None
    else:
        assert shape.memory_mb is not None
        assert shape.workers * shape.memory_mb <= mem_mb - min(own_mb, mem_mb / 2)
        assert shape.workers == 1 or shape.memory_mb >= SMALLEST_WORKER_MB


@given(st.floats(1, 10**7), own)
def test_what_workers_may_use_leaves_room_and_is_never_less_than_half(mem_mb: float, own_mb: float) -> None:
    assert mem_mb / 2 - 1 <= usable_mb(mem_mb, own_mb) <= 0.9 * mem_mb


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (None, (1, 4, 7200)),
        ("threads", (1, 4, 7200)),
        ("processes", (4, 1, 1800)),
        ("2x2", (2, 2, 3600)),
        ("3x1", (3, 1, 2400)),
        ("gpus", (2, 2, 3600)),
    ],
)
def test_shapes(wanted: str | None, expected: tuple[int, int, int]) -> None:
    shape = shape_of(wanted, 4, 8000, 256, gpus=2)
    assert (shape.workers, shape.threads, shape.memory_mb) == expected


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ("4x2", "that is 8 threads, and the rule has 4"),
        ("0x2", "none of the shapes"),
        ("fast", "none of the shapes"),
        (3, "none of the shapes"),
        ("gpus", "the rule has no GPU"),
    ],
)
def test_what_can_not_be_had_is_told_with_what_is_allowed(wanted: str, why: str) -> None:
    with pytest.raises(ShapeError, match=why) as raised:
        shape_of(wanted, 4, 8000, 256)
    assert "Allowed are 'threads'" in str(raised.value)
