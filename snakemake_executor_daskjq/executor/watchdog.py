"""Whether the controller still answers: when to ping it, and when to give it up. No clock of its own."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

PING_S = 3.0


class Verdict(Enum):
    WAIT = auto()
    PING = auto()
    HUNG = auto()


@dataclass(slots=True)
class Watchdog:
    """Gives a controller up when a ping has had no answer for `patience_s`.

    Between two calls of `tick` at most `PING_S` count, however long it was: a machine that slept, or a Snakemake that
    was stopped, says nothing about the controller.

    >>> watchdog = Watchdog(patience_s=10.0, now=0.0)
    >>> [watchdog.tick(now).name for now in (1.0, 3.0, 6.0)]
    ['WAIT', 'PING', 'WAIT']
    >>> watchdog.answered()
    >>> [watchdog.tick(now).name for now in (9.0, 12.0, 15.0, 18.0, 21.0)]
    ['PING', 'WAIT', 'WAIT', 'WAIT', 'HUNG']
    """

    patience_s: float
    now: float
    _since_ping_s: float = 0.0
    _is_asked: bool = False

    def tick(self, now: float) -> Verdict:
        """What to do at this time (seconds of any clock that only goes forward)."""
        self._since_ping_s += min(now - self.now, PING_S)
        self.now = now
        if self._is_asked:
            return Verdict.HUNG if self._since_ping_s >= self.patience_s else Verdict.WAIT
        if self._since_ping_s < PING_S:
            return Verdict.WAIT
        self._is_asked = True
        self._since_ping_s = 0.0
        return Verdict.PING

    def answered(self) -> None:
        """The last ping was answered; the next one is due `PING_S` after it was sent."""
        self._is_asked = False

    def hurry(self, patience_s: float) -> None:
        """From now on wait so long only; the next ping is due at once, and one that is under way counts anew."""
        self.patience_s = patience_s
        self._since_ping_s = 0.0 if self._is_asked else PING_S
