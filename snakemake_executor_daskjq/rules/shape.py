"""Of what workers a rule's own Dask cluster consists: decided from what the rule has. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import DaskjqError
from ..model.machine_view import usable_mb

SMALLEST_WORKER_MB = 400
"""A worker that has imported what data frames need takes half of that; near its limit it would pause for ever."""

SMALL_WORKER_MB = 250
"""With less, the user is warned: they may know that their workers import little."""

_PRODUCT = re.compile(r"([1-9][0-9]*)x([1-9][0-9]*)")


class ShapeError(DaskjqError):
    """What a rule asks for as its Dask cluster can't be had."""

    def __init__(self, wanted: object, why: str) -> None:
        super().__init__(wanted, why)
        self.wanted = wanted
        self.why = why

    def __str__(self) -> str:
        return (
            f"dask={self.wanted!r}: {self.why}. Allowed are 'threads' (one worker, for numeric code), 'processes' (one "
            "for each thread, for pure Python), 'gpus' (one for each GPU), and WORKERSxTHREADS such as '2x4'."
        )


@dataclass(frozen=True, slots=True)
class Shape:
    """Workers of a cluster.

    Attributes
    ----------
    workers : how many processes.
    threads : of each.
    memory_mb : the limit of each in MB of 10^6 bytes; None where the rule states no memory.
    why : how that came about.
    """

    workers: int
    threads: int
    memory_mb: int | None
    why: str

    def __str__(self) -> str:
        """
        >>> str(Shape(2, 1, 622, "dask='processes'"))
        "2 workers with 1 thread and 622 MB each (dask='processes')"
        """
        each = " each" if self.workers > 1 else ""
        memory = "" if self.memory_mb is None else f" and {self.memory_mb} MB"
        return f"{_count(self.workers, 'worker')} with {_count(self.threads, 'thread')}{memory}{each} ({self.why})"


def shape_of(wanted: str | None, threads: int, mem_mb: float | None, own_mb: float, gpus: int = 0) -> Shape:
    """The shape of the cluster of a rule with so many threads, memory and GPUs, whose own process takes `own_mb`.

    Where memory is short, there are fewer `processes`, with more threads each as far as the rule has them.

    Raises
    ------
    ShapeError : where `wanted` is no shape, or asks for more than the rule has.

    >>> str(shape_of(None, 4, 8000, 200))
    '1 worker with 4 threads and 7200 MB (threads, as numeric code wants it: the rule states no dask=...)'
    >>> str(shape_of("processes", 4, 1000, 200))
    "2 workers with 2 threads and 400 MB each (dask='processes', with fewer processes for want of memory)"
    >>> str(shape_of("2x2", 4, None, 200))
    "2 workers with 2 threads each (dask='2x2')"
    """
    usable = None if mem_mb is None else usable_mb(mem_mb, own_mb)
    why = f"dask={wanted!r}"
    match wanted:
        case None | "":
            workers, each, why = 1, threads, "threads, as numeric code wants it: the rule states no dask=..."
        case "threads":
            workers, each = 1, threads
        case "processes":
            most = threads if usable is None else max(1, min(threads, usable // SMALLEST_WORKER_MB))
            workers, each = most, threads // most
            if most < threads:
                why += ", with fewer processes for want of memory"
        case "gpus":
            if not gpus:
                raise ShapeError(wanted, "the rule has no GPU")
            workers, each = gpus, max(1, threads // gpus)
        case _:
            product = _PRODUCT.fullmatch(str(wanted))
            if product is None:
                raise ShapeError(wanted, "it is none of the shapes")
            workers, each = int(product[1]), int(product[2])
            if workers * each > threads:
                raise ShapeError(wanted, f"that is {workers * each} threads, and the rule has {threads}")
    return Shape(workers, each, None if usable is None else usable // workers, why)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
