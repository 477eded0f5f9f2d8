"""What losing pilots says about the jobs that ran on them, and about the hosts that they ran on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

CRASH_BUDGET = 3
"""So many crashed pilots or launchers, and a job is taken for their cause."""

LOSS_BUDGET = 20
"""So many losses of any kind, and a job is given up: those of which nobody knows the cause among them."""

BAD_HOST_CRASHES = 2
"""So many crashed pilots on one host, and it gets no more of them."""

MOST_BAD_HOSTS = 8


@dataclass(frozen=True, slots=True)
class Losses:
    """How often a job was lost, and with what (`pilot: how`)."""

    crashes: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    def with_one(self, pilot: str, how: str, *, crash: bool) -> Losses:
        """After one more.

        >>> Losses().with_one("main-1", "NODE_FAIL", crash=True).crashes
        ('main-1: NODE_FAIL',)
        """
        said = f"{pilot}: {how}" if how else pilot
        return replace(self, crashes=(*self.crashes, said)) if crash else replace(self, others=(*self.others, said))

    @property
    def given_up(self) -> bool:
        return len(self.crashes) >= CRASH_BUDGET or len(self.crashes) + len(self.others) >= LOSS_BUDGET

    @property
    def suspect(self) -> bool:
        """True before the last try: what happens then must say something about this job alone."""
        return len(self.crashes) == CRASH_BUDGET - 1

    def reason(self) -> str:
        """For the user.

        >>> Losses(("a: FAILED", "b", "c"), ("d: TIMEOUT",)).reason()
        'it was lost with 3 pilots or launchers that crashed (a: FAILED; b; c) and 1 more (d: TIMEOUT)'
        """
        parts = []
        if self.crashes:
            parts.append(f"{len(self.crashes)} pilots or launchers that crashed ({'; '.join(self.crashes)})")
        if self.others:
            parts.append(f"{len(self.others)} more ({'; '.join(self.others)})")
        return f"it was lost with {' and '.join(parts)}"


def bad_hosts(crashes: Mapping[str, int], known: Collection[str]) -> list[str]:
    """The hosts that get no more pilots, worst first: never more than half of the known ones.

    >>> bad_hosts({"n1": 2, "n2": 1, "n3": 4}, ["n1", "n2", "n3", "n4"])
    ['n3', 'n1']
    >>> bad_hosts({"n1": 9}, ["n1"])
    []
    """
    worst = [host for host, count in Counter(crashes).most_common() if count >= BAD_HOST_CRASHES]
    return worst[: min(MOST_BAD_HOSTS, len(known) // 2)]
