"""Pilots that the batch system has and that have not connected: when to ask about them, and what its answers say.

One query asks about all of them, ever more seldom, and none once all have connected: a batch system is never asked
about rules, and not about pilots that can speak for themselves.
"""

from __future__ import annotations

import enum
import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..batch.base import ListedState

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from ..batch.base import Listed
    from .pilot_life import PilotLife

FIRST_QUERY_S = 2.0
LONGEST_QUERY_S = 30.0
SLOWER = 1.5
"""Each query waits so many times longer than the one before."""

MISSING = 2
"""A pilot that so many answers in a row leave out has ended; at first it may just have been too new for the list."""


_AMOUNTS = re.compile(r"\([^)]*\)")
"""What is free at the moment; a reason that differs in that only is told already."""


class News(enum.Enum):
    """What an answer says of a pilot."""

    WAITS = "waits"  # `words` are the reason, "" for none
    HELD = "held"  # it starts only once somebody releases it
    BROKEN = "broken"  # it can't start, and stays in the list
    MISSING = "missing"  # the batch system no longer has it


@dataclass(frozen=True, slots=True)
class Noted:
    pilot: str
    news: News
    words: str = ""


class QueueWatch:
    """Asks about pending pilots as long as there are any."""

    def __init__(self) -> None:
        self.due = math.inf
        """When the next query is due; inf where none is, or while an answer is awaited."""
        self._pause_s = FIRST_QUERY_S
        self._asked: dict[str, set[str]] = {}  # system -> the pilots that its answer will be about
        self._missing: Counter[str] = Counter()
        self._told: dict[str, tuple[ListedState, str]] = {}
        self._over: set[str] = set()  # found missing or broken, and told

    def pilot_submitted(self, now: float) -> None:
        """One more pilot is pending."""
        if self.due == math.inf and not self._asked:
            self.due, self._pause_s = now + FIRST_QUERY_S, FIRST_QUERY_S

    def queries(self, pending: Iterable[PilotLife], now: float) -> dict[str, tuple[str, ...]]:
        """The batch ids to ask about now, by system; empty where nothing is due."""
        if now < self.due:
            return {}
        self.due = math.inf
        found: dict[str, list[str]] = {}
        for pilot in pending:
            if pilot.name not in self._over:
                found.setdefault(pilot.pool.system, []).append(pilot.batch_id)
                self._asked.setdefault(pilot.pool.system, set()).add(pilot.name)
        if not found:  # the next pilot that is submitted starts the watch anew
            self._missing.clear()
            self._told.clear()
            self._over.clear()
        self._pause_s = min(LONGEST_QUERY_S, self._pause_s * SLOWER)
        return {system: tuple(ids) for system, ids in found.items()}

    def answered(
        self, system: str, listed: Mapping[str, Listed] | None, pending: Collection[PilotLife], now: float
    ) -> list[Noted]:
        """What is new. `pending` are the pilots that have not connected by now."""
        asked = self._asked.pop(system, None)
        if asked is None:
            return []
        if not self._asked:
            self.due = now + self._pause_s
        if listed is None:
            return []
        noted = []
        for pilot in pending:
            if pilot.name in asked:
                noted += self._look(pilot, listed.get(pilot.batch_id))
        return noted

    def _look(self, pilot: PilotLife, found: Listed | None) -> list[Noted]:
        name = pilot.name
        if found is None:
            self._missing[name] += 1
            if self._missing[name] < MISSING:
                return []
            self._over.add(name)
            return [Noted(name, News.MISSING)]
        self._missing.pop(name, None)
        state = found.state if found.state in (ListedState.BROKEN, ListedState.HELD) else ListedState.QUEUED
        words = _AMOUNTS.sub("", found.words) if state is ListedState.QUEUED else found.words
        if (state, words) == self._told.get(name, (ListedState.QUEUED, "")):
            return []
        self._told[name] = state, words
        if state is ListedState.BROKEN:
            self._over.add(name)
            return [Noted(name, News.BROKEN, found.words)]
        return [Noted(name, News.HELD if state is ListedState.HELD else News.WAITS, found.words)]
