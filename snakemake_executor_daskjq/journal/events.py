"""The events of a run's journal: one frozen class a kind, one JSON line an event.

A line holds `t` (seconds since the epoch, on Snakemake's host), `event` (the class's `name`) and the
fields below. Readers ignore fields and events that they don't know, so both may be added.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from ..model.outcome import End, Outcome
    from ..model.request import Amounts, Request, WarmStart


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events."""

    name: ClassVar[str]

    def record(self, now: float) -> dict[str, Any]:
        """The JSON object of this event.

        >>> PilotRequested(pilot="main-1", pool="main").record(12.0)
        {'t': 12.0, 'event': 'pilot_requested', 'pilot': 'main-1', 'pool': 'main'}
        """
        return {"t": now, "event": self.name, **{field.name: getattr(self, field.name) for field in fields(self)}}


@dataclass(frozen=True, slots=True)
class RunStarted(Event):
    """The first line: versions, and the pools as they were understood.

    `controller` is the name of the run that has started its controller: its own, or an earlier one's.
    """

    name: ClassVar[str] = "run_started"
    schema: int
    version: str
    pools: dict[str, dict[str, Any]]
    controller: str = ""


@dataclass(frozen=True, slots=True)
class RunEnded(Event):
    """The last line of a run that ended by itself or was interrupted."""

    name: ClassVar[str] = "run_ended"
    cancelled: bool


@dataclass(frozen=True, slots=True)
class JobSubmitted(Event):
    """Snakemake handed over a job; it waits for a pilot from now on."""

    name: ClassVar[str] = "job_submitted"
    key: str
    job_id: int
    rule: str
    attempt: int
    amounts: Amounts
    runtime_s: int | None
    pools: tuple[str, ...] | None

    @classmethod
    def of(cls, request: Request) -> JobSubmitted:
        return cls(
            key=request.key,
            job_id=request.job_id,
            rule=request.rule,
            attempt=request.attempt,
            amounts=request.amounts,
            runtime_s=request.runtime_s,
            pools=request.pools,
        )


@dataclass(frozen=True, slots=True)
class JobHeld(Event):
    """A job with Dask workers waits until the job `by` has got as many as that needs; "" when it waits no more."""

    name: ClassVar[str] = "job_held"
    key: str
    by: str


@dataclass(frozen=True, slots=True)
class JobPlaced(Event):
    """A pilot had room: the job became a Dask future on it. `tries` counts placements, from 1."""

    name: ClassVar[str] = "job_placed"
    key: str
    pilot: str
    tries: int


@dataclass(frozen=True, slots=True)
class JobEnded(Event):
    """One try of a job ended. `reported` is false where the job goes back to the queue.

    `started_at` and `ended_at` are the child's own, on the pilot's clock.
    """

    name: ClassVar[str] = "job_ended"
    key: str
    pilot: str
    end: End
    reported: bool
    exit_status: int | None
    signal_number: int | None
    started_at: float
    ended_at: float
    cpu_s: float
    peak_mem_mb: float
    detail: str
    warm_start: WarmStart
    colder_because: str
    dask: str = ""

    @classmethod
    def of(cls, request: Request, pilot: str, outcome: Outcome, *, reported: bool) -> JobEnded:
        return cls(
            key=request.key,
            pilot=pilot,
            end=outcome.end,
            reported=reported,
            exit_status=outcome.exit_status,
            signal_number=outcome.signal_number,
            started_at=outcome.started_at,
            ended_at=outcome.ended_at,
            cpu_s=outcome.cpu_s,
            peak_mem_mb=outcome.peak_mem_mb,
            detail=outcome.detail,
            warm_start=outcome.warm_start,
            colder_because=outcome.colder_because,
            dask=outcome.dask,
        )


@dataclass(frozen=True, slots=True)
class JobWithdrawn(Event):
    """A job that had not begun when Snakemake ended the run for another one's failure. Nothing more comes of it."""

    name: ClassVar[str] = "job_withdrawn"
    key: str


@dataclass(frozen=True, slots=True)
class JobTakenOver(Event):
    """A job goes on as one of a later run, for this run's Snakemake has died. `by` is that one's number."""

    name: ClassVar[str] = "job_taken_over"
    key: str
    by: int


@dataclass(frozen=True, slots=True)
class JobReported(Event):
    """Snakemake's callback was called with the job's end."""

    name: ClassVar[str] = "job_reported"
    key: str
    success: bool


@dataclass(frozen=True, slots=True)
class Planned(Event):
    """The planner asks for pilots: how many `more` of each pool.

    `method` is `greedy` or `program`; a better answer could be cheaper by a share of `gap` at most (None where that
    is not known); finding it took `seconds`.
    """

    name: ClassVar[str] = "planned"
    more: dict[str, int]
    method: str
    gap: float | None
    seconds: float


@dataclass(frozen=True, slots=True)
class PilotRequested(Event):
    """A pilot is about to be submitted."""

    name: ClassVar[str] = "pilot_requested"
    pilot: str
    pool: str


@dataclass(frozen=True, slots=True)
class PilotSubmitted(Event):
    """The batch system accepted the pilot as `batch_id` (a process id on the local system)."""

    name: ClassVar[str] = "pilot_submitted"
    pilot: str
    batch_id: str


@dataclass(frozen=True, slots=True)
class PilotWaits(Event):
    """The batch system's reason for which the pilot waits in its queue; written when it changes."""

    name: ClassVar[str] = "pilot_waits"
    pilot: str
    reason: str


@dataclass(frozen=True, slots=True)
class PilotStarted(Event):
    """The pilot's Dask worker connected."""

    name: ClassVar[str] = "pilot_started"
    pilot: str
    host: str
    amounts: Amounts


@dataclass(frozen=True, slots=True)
class PilotFailed(Event):
    """The pilot could not be submitted, or ended before it connected. `words` are the batch system's."""

    name: ClassVar[str] = "pilot_failed"
    pilot: str
    words: str
    retry_in_s: float


@dataclass(frozen=True, slots=True)
class PilotLost(Event):
    """A running pilot went away by itself; `jobs` are the keys that it took along."""

    name: ClassVar[str] = "pilot_lost"
    pilot: str
    jobs: list[str]


@dataclass(frozen=True, slots=True)
class PilotGone(Event):
    """Nothing of a lost pilot runs any more. `how` it ended, in the batch system's words; "" where it says none."""

    name: ClassVar[str] = "pilot_gone"
    pilot: str
    host: str
    how: str


@dataclass(frozen=True, slots=True)
class HostExcluded(Event):
    """So many pilots crashed on a host that it gets no more of them."""

    name: ClassVar[str] = "host_excluded"
    host: str
    crashes: int


@dataclass(frozen=True, slots=True)
class PilotEnded(Event):
    """daskjq ended the pilot: `why` is `idle`, `no more work`, `near its walltime` or `run ended`."""

    name: ClassVar[str] = "pilot_ended"
    pilot: str
    why: str
