"""Watches pilots that the batch system has and that have not connected yet.

It asks about all of them at a time, ever more seldom, and no more once all have connected: a batch system is never
asked about rules, and not about pilots that can speak for themselves.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from typing import TYPE_CHECKING, Protocol

from ..batch.base import ListedState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..batch.base import BatchSystem

FIRST_QUERY_S = 2.0
LONGEST_QUERY_S = 30.0

_AMOUNTS = re.compile(r"\([^)]*\)")
"""What is free at the moment; a reason that differs in that only is told already."""


class PendingPilot(Protocol):
    """What the watch knows of a pilot."""

    @property
    def name(self) -> str: ...

    @property
    def system(self) -> BatchSystem: ...

    @property
    def batch_id(self) -> str: ...


async def watch(
    pending: Callable[[], Sequence[PendingPilot]],
    waits: Callable[[str, str], None],
    died: Callable[[str], None],
    held: Callable[[str, str], None],
    broken: Callable[[str, str], None],
) -> None:
    """Run until no pilot is pending.

    Parameters
    ----------
    pending : the pilots that are pending now.
    waits : told a pilot and the reason for which it waits in the queue, whenever that changes; "" once there is none.
    died : told a pilot that the batch system no longer lists although it has never connected.
    held : told a pilot that starts only once somebody releases it, and the state or reason, when it changes.
    broken : told a pilot that can't start any more, and why.
    """
    pause = FIRST_QUERY_S
    missing: Counter[str] = Counter()
    told: dict[str, str] = {}
    while pilots := pending():
        await asyncio.sleep(pause)
        pause = min(LONGEST_QUERY_S, pause * 1.5)
        for asked in {pilot.system for pilot in pilots}:
            listed = await asked.listed([pilot.batch_id for pilot in pilots if pilot.system is asked])
            if listed is None:
                continue
            for pilot in [pilot for pilot in pending() if pilot.system is asked]:
                found = listed.get(pilot.batch_id)
                if found is None:
                    missing[pilot.name] += 1
                    if missing[pilot.name] > 1:  # the first time it may just have been too new for the list
                        died(pilot.name)
                    continue
                missing.pop(pilot.name, None)
                words = _AMOUNTS.sub("", found.words) if found.state is ListedState.QUEUED else found.words
                if words == told.get(pilot.name, ""):
                    continue
                told[pilot.name] = words
                if found.state is ListedState.BROKEN:
                    broken(pilot.name, found.words)
                elif found.state is ListedState.HELD:
                    held(pilot.name, found.words)
                else:
                    waits(pilot.name, found.words)
