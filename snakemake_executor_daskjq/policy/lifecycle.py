"""When pilots may be started again after a failure, and when idle ones end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 60.0
GIVE_UP_AFTER = 6
"""Failed starts one after the other, about half a minute of waiting in all."""

HOPELESS = (
    # What no second try mends; the words are sbatch's, qsub's, bsub's, oarsub's and condor_submit's.
    "invalid partition",
    "invalid account",
    "invalid qos",
    "unknown queue",
    "no such queue",
    "job rejected",
    "requested node configuration is not available",
    "memory specification can not be satisfied",
    "requested time limit is invalid",
    "more processors requested than permitted",
    "unrecognized option",
    "invalid directive",
    "no such file or directory",
    "command not found",
    "permission denied",
)


@dataclass(frozen=True, slots=True)
class Starts:
    """How starting the pilots of one pool has gone.

    Attributes
    ----------
    failures : failed starts since the last pilot that connected.
    not_before : seconds since the epoch before which none is requested.
    words : what the batch system said last.
    hopeless : its words say that no further try can succeed.
    """

    failures: int = 0
    not_before: float = 0.0
    words: str = ""
    hopeless: bool = False

    def failed(self, words: str, now: float) -> Starts:
        """After a failed start: back off, twice as long each time.

        >>> Starts().failed("Socket timed out", now=100.0).not_before
        101.0
        >>> Starts(failures=3, not_before=50.0).failed("Socket timed out", now=100.0).not_before
        108.0
        """
        # Pilots that were requested together fail together; that is one failure, not many.
        if now < self.not_before:
            return self
        delay = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2**self.failures)
        hopeless = any(phrase in words.lower() for phrase in HOPELESS)
        return replace(self, failures=self.failures + 1, not_before=now + delay, words=words, hopeless=hopeless)

    @property
    def given_up(self) -> bool:
        return self.hopeless or self.failures >= GIVE_UP_AFTER


def idle_pilots(idle_since: Mapping[str, float], timeout_s: float, now: float) -> list[str]:
    """The pilots that have had nothing to do for `timeout_s`, longest idle first.

    >>> idle_pilots({"a": 0.0, "b": 90.0, "c": 30.0}, timeout_s=60, now=100.0)
    ['a', 'c']
    """
    expired = [pilot for pilot, since in idle_since.items() if now - since >= timeout_s]
    return sorted(expired, key=lambda pilot: idle_since[pilot])
