"""How one try of a job ended, and what it used."""

from __future__ import annotations

import enum
import signal
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from .request import WarmStart

if TYPE_CHECKING:
    from collections.abc import Sequence


class End(enum.StrEnum):
    """The reasons that users are told."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"  # the rule's own failure: exit status or signal
    OUT_OF_MEMORY = "out_of_memory"  # it used more than its mem_mb, or the kernel ended it for memory
    OVER_RUNTIME = "over_runtime"  # it took longer than its runtime, and was ended for that
    NOT_STARTED = "not_started"  # the child could not be started at all
    LOST = "lost"  # the pilot, or its launcher, went away under the job
    WITHDRAWN = "withdrawn"  # it had not begun when Snakemake wanted no more jobs


PILOT_ENDS = "its pilot was told to end"
"""The `detail` of a job that was lost because of that."""

PILOT_GONE = "its pilot was gone already"
"""That of one that never came to its pilot."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One try of a job.

    Attributes
    ----------
    end : the reason.
    exit_status : of the child, None if a signal ended it or it never ran.
    signal_number : the signal that ended the child, or None.
    started_at, ended_at : seconds since the epoch, on the pilot's clock.
    cpu_s : user and system CPU seconds of the child and all descendants that it waited for.
    peak_mem_mb : MB of 10^6 bytes; the larger of the kernel's exact peak of the largest process (`ru_maxrss`)
        and of samples of all its processes together, taken from its first half second on.
    detail : the figures of a limit, how the rule's command failed, why a child could not be started, or how
        the pilot was lost.
    warning : that a job went over a limit and was left alone; "" otherwise.
    log_tail : the last lines of the log where the job failed; "" otherwise.
    warm_start : how warm the job was started.
    colder_because : why it was not started as warm as asked; "" if it was.
    benchmark : what `snakemake.benchmark` has measured of a direct start (JSON), "" where nothing was to be.
    dask : what Dask clusters of its own have used (`rules.client`), a line of JSON each; "" where it had none.
    """

    end: End
    exit_status: int | None = None
    signal_number: int | None = None
    started_at: float = 0.0
    ended_at: float = 0.0
    cpu_s: float = 0.0
    peak_mem_mb: float = 0.0
    detail: str = ""
    warning: str = ""
    log_tail: str = ""
    warm_start: WarmStart = WarmStart.OFF
    colder_because: str = ""
    benchmark: str = ""
    dask: str = ""

    @property
    def wall_s(self) -> float:
        return self.ended_at - self.started_at

    def record(self) -> list[Any]:
        """Its values without their names, of JSON's and msgpack's own types; `of_record` reads it."""
        return [getattr(self, name) for name in _FIELDS]

    @classmethod
    def of_record(cls, record: Sequence[Any]) -> Outcome:
        """
        >>> Outcome.of_record(Outcome(End.FAILED, exit_status=3).record()).reason()
        'exit status 3'
        """
        own = dict(zip(_FIELDS, record, strict=True))
        return cls(**{**own, "end": End(own["end"]), "warm_start": WarmStart(own["warm_start"])})

    def reason(self) -> str:
        """One phrase for the user.

        >>> Outcome(End.FAILED, exit_status=3).reason()
        'exit status 3'
        >>> Outcome(End.FAILED, signal_number=9).reason()
        'ended by SIGKILL'
        >>> Outcome(End.LOST, detail="pilot main-2 disconnected").reason()
        'lost: pilot main-2 disconnected'
        >>> Outcome(End.OUT_OF_MEMORY, signal_number=15, detail="it used at least 812 MB, ...").reason()
        'out of memory: it used at least 812 MB, ...'
        """
        if self.end is End.FAILED and self.detail:
            return self.detail
        if self.end in (End.OUT_OF_MEMORY, End.OVER_RUNTIME):
            return f"{self.end.replace('_', ' ')}: {self.detail}"
        if self.signal_number is not None:
            return f"ended by {signal.Signals(self.signal_number).name}"
        if self.exit_status is not None:
            return f"exit status {self.exit_status}"
        return f"{self.end.replace('_', ' ')}: {self.detail}" if self.detail else self.end.replace("_", " ")


_FIELDS = tuple(field.name for field in fields(Outcome))
