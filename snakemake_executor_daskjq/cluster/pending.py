"""Watches pilots that the batch system has and that have not connected yet.

One command asks about all of them, ever more seldom, and none once all have connected: a batch system is never
asked about rules, and not about pilots that can speak for themselves.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Protocol

from . import batch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FIRST_QUERY_S = 2.0
LONGEST_QUERY_S = 30.0


class PendingPilot(Protocol):
    """What the watch knows of a pilot."""

    @property
    def name(self) -> str: ...

    @property
    def system(self) -> str: ...

    @property
    def batch_id(self) -> str: ...


async def watch(
    pending: Callable[[], Sequence[PendingPilot]],
    waits: Callable[[str, str], None],
    died: Callable[[str], None],
    held: Callable[[str, str], None],
) -> None:
    """Run until no pilot is pending.

    Parameters
    ----------
    pending : the pilots that are pending now.
    waits : told a pilot and the reason for which it waits in the queue, whenever that changes.
    held : told a pilot that starts only once somebody releases it, and the state or reason, when it changes.
    died : told a pilot that the batch system no longer lists although it has never connected.
    """
    pause = FIRST_QUERY_S
    missing: Counter[str] = Counter()
    words: dict[str, str] = {}
    while pilots := pending():
        await asyncio.sleep(pause)
        pause = min(LONGEST_QUERY_S, pause * 1.5)
        for system in {pilot.system for pilot in pilots}:
            states = await batch.ask(system)
            for pilot in pending() if states is not None else ():
                if pilot.system != system:
                    continue
                word = (states or {}).get(pilot.batch_id)
                if word is not None:
                    missing.pop(pilot.name, None)
                if word is None:
                    missing[pilot.name] += 1
                    if missing[pilot.name] > 1:  # the first time it may just have been too new for the list
                        died(pilot.name)
                elif word != words.get(pilot.name):
                    words[pilot.name] = word
                    if batch.is_held(word, batch.query_for(system)):
                        held(pilot.name, word)
                    elif word.startswith("PENDING ("):
                        waits(pilot.name, word.removeprefix("PENDING (").removesuffix(")"))
