"""What the job that is next waits for, in a few words: the status line has room for the main reason only.

All reasons, pool by pool and pilot by pilot, are `report.explain`'s.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..model.request import Amounts

NAMES = {"mem_mb": "memory", "disk_mb": "disk", "gpu_percent": "GPUs"}


def short(amounts: Amounts, free: Mapping[str, float]) -> list[str]:
    """The resources of which less is free than the job needs.

    >>> short({"cores": 8, "mem_mb": 9000, "gpu_percent": 100}, {"cores": 4, "mem_mb": 9000})
    ['cores', 'gpu_percent']
    """
    return [name for name, amount in amounts.items() if amount > free.get(name, 0)]


def waits_for(
    amounts: Amounts, pools: Sequence[str], free: Mapping[str, Iterable[Amounts]], coming: Mapping[str, int]
) -> str:
    """`pools` are those that could hold the job, `free` is what each of their running pilots has free, `coming` how
    many of their pilots are requested or queued.

    >>> job = {"cores": 8, "mem_mb": 9000}
    >>> waits_for(job, ["main", "big"], {"main": [{"cores": 4, "mem_mb": 8000}]}, {"big": 2})
    'pilots of pool big in the queue'
    >>> waits_for(job, ["big"], {"big": [{"cores": 2, "mem_mb": 64000}, {"cores": 9, "mem_mb": 100}]}, {})
    'cores in pool big'
    >>> waits_for(job, ["big"], {"big": [{"cores": 9, "mem_mb": 9000}]}, {})
    'its turn in pool big'
    >>> waits_for(job, ["main", "big"], {}, {})
    'a pilot of pool main or big'
    """
    queued = [name for name in pools if coming.get(name)]
    if queued:
        return f"pilots of pool {' or '.join(queued)} in the queue"
    rooms = [(name, room) for name in pools for room in free.get(name, ())]
    if not rooms:
        return f"a pilot of pool {' or '.join(pools)}"
    lacking = [(next((NAMES.get(one, one) for one in short(amounts, room)), "its turn"), name) for name, room in rooms]
    (what, where), _ = Counter(lacking).most_common(1)[0]
    return f"{what} in pool {where}"
