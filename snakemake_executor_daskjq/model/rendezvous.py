"""How the Dask workers of a rule that are jobs of their own find the scheduler in the rule's job.

The rule's job writes `FILE` into a private folder that all of them see: the scheduler's address and the key with which
to speak to it. It removes the file before its scheduler ends, and may write one of another. The folder is removed when
the rule's job has ended, or when it can't have workers: whoever looks at it ends then.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE = "DASKJQ_DASK_WORKERS"
"""The variable that tells a rule's job of its workers: an `Invitation` as JSON."""

FILE = "scheduler.json"


@dataclass(frozen=True, slots=True)
class Invitation:
    """What a rule's job knows of the workers that it gets.

    Attributes
    ----------
    folder : where they look for `FILE`.
    count : how many there are to be.
    least : how many to wait for.
    threads : of each.
    memory_mb : the limit of each in MB of 10^6 bytes; None for none.
    interface : the network interface to listen on; "" for the usual one.
    host : the address to listen on instead; "" for that of the interface.
    """

    folder: str
    count: int
    least: int
    threads: int
    memory_mb: int | None
    interface: str = ""
    host: str = ""

    def text(self) -> str:
        """
        >>> one = Invitation("/run/a", 8, 2, 1, 500)
        >>> Invitation.of({VARIABLE: one.text()}) == one
        True
        """
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Invitation | None:
        """That of this process' job; None where the rule has no workers elsewhere."""
        text = environment.get(VARIABLE)
        if not text:
            return None
        record: dict[str, Any] = json.loads(text)
        return cls(**record)
