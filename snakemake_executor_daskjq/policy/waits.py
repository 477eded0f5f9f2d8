"""What the job that is next waits for, in a few words: the status line has room for the main reason only.

All reasons, pool by pool and pilot by pilot, are `report.explain`'s.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..model.request import Request
    from .rooms import Room

NAMES = {"mem_mb": "memory", "disk_mb": "disk", "gpu_percent": "GPUs", "runtime": "walltime"}


def waits_for(
    request: Request, pools: Sequence[str], rooms: Mapping[str, Sequence[Room]], coming: Mapping[str, int], now: float
) -> str:
    """`pools` are those that could hold the job, `rooms` has what their running pilots have to give, `coming` how many
    of their pilots are requested or queued.

    >>> from ..model.request import Request
    >>> from .rooms import Room
    >>> def free(**amounts: int) -> Room: return Room("p", "big", amounts)
    >>> job = Request("a", 1, "a", 1, {"cores": 8, "mem_mb": 9000})
    >>> waits_for(job, ["main", "big"], {"main": [free(cores=4, mem_mb=8000)]}, {"big": 2}, 0.0)
    'pilots of pool big in the queue'
    >>> waits_for(job, ["big"], {"big": [free(cores=2, mem_mb=64000), free(cores=9, mem_mb=100)]}, {}, 0.0)
    'cores in pool big'
    >>> waits_for(job, ["big"], {"big": [free(cores=9, mem_mb=9000)]}, {}, 0.0)
    'its turn in pool big'
    >>> waits_for(job, ["main", "big"], {}, {}, 0.0)
    'a pilot of pool main or big'
    """
    queued = [name for name in pools if coming.get(name)]
    if queued:
        return f"pilots of pool {' or '.join(queued)} in the queue"
    lacking: Counter[tuple[str, str]] = Counter()
    for name in pools:
        for room in rooms.get(name, ()):
            what = next((misfit.resource for misfit in room.misfits(request, now)), "its turn")
            lacking[NAMES.get(what, what), name] += 1
    if not lacking:
        return f"a pilot of pool {' or '.join(pools)}"
    (what, where), _ = lacking.most_common(1)[0]
    return f"{what} in pool {where}"
