"""Direct starts whose command has ended, but not all that it started: `tee` in `> >(tee log)`, say."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import processes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..frames import Frame

LINGER_S = 1.0
WRITE_S = 60.0
LOOK_S = 0.1
"""How often a launcher looks whether products are there."""


@dataclass(slots=True)
class Lingering:
    """A job that ends when what its command left has ended, or is not waited for any more.

    A job that is a Snakemake of its own ends a moment later than its command, and later still where an output is not
    there yet. So does this one: as soon as all has ended; after `LINGER_S` if its products are there; after its
    latency wait, or `WRITE_S` where one of them is still being written.
    """

    frame: Frame
    products: Sequence[str]
    due: float  # monotonic
    latest: float
    latest_writer: float

    @classmethod
    def since(cls, now: float, frame: Frame, products: Sequence[str], wait_s: float) -> Lingering:
        """A job whose command has ended `now` (monotonic); it waits for late products for `wait_s`."""
        return cls(frame, products, now + LINGER_S, now + max(LINGER_S, wait_s), now + max(WRITE_S, wait_s))

    def is_over(self, now: float, strays: Sequence[int]) -> bool:
        if now < self.due:
            return False
        if processes.write_to(strays, self.products):
            return now >= self.latest_writer
        return now >= self.latest or all(map(os.path.lexists, self.products))
