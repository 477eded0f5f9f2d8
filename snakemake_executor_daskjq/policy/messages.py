"""What the controller core hears (events) and what it wants done (instructions).

Whoever drives the core (a run, a simulation, a test) turns what happens into events and carries out instructions, in
their order. Times are the driver's: seconds, since the epoch in a run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..batch.base import Ended, Listed
    from ..errors import DaskjqError
    from ..journal import events as journal
    from ..model.outcome import Outcome
    from ..model.pool import Pool
    from ..model.request import Amounts, Outlook, Request
    from ..model.usage import Usage
    from .planner import Demand, Plan, Supply
    from .summary import Summary

ALL = 0
"""The number of no run, where all are meant."""

# -- events ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunBegins:
    """A run that may submit jobs from now on.

    `history` is what its rules have used in earlier runs, and `keep_s` how long pilots without a job stay for others.
    """

    run: int
    history: Mapping[str, Usage]
    keep_s: float = 0.0


@dataclass(frozen=True, slots=True)
class OutlookLearned:
    """What a run's workflow has before it; once, before the first jobs."""

    outlook: Outlook
    run: int = 1


@dataclass(frozen=True, slots=True)
class JobsSubmitted:
    """Jobs wait for a pilot, since `since` where that is longer than now."""

    requests: tuple[Request, ...]
    since: float | None = None


@dataclass(frozen=True, slots=True)
class JobUnstarted:
    """A job fails before it is submitted; nothing of it is to come any more."""

    request: Request
    why: str


@dataclass(frozen=True, slots=True)
class JobsWithdrawn:
    """Snakemake ends a run for a job that has failed: what was never placed is not to begin any more."""

    run: int = 1


@dataclass(frozen=True, slots=True)
class JobTakenOver:
    """A run wants a job as its own that another run has left behind: the request has that one's key.

    Where none is left with it, the request is submitted.
    """

    request: Request


@dataclass(frozen=True, slots=True)
class JobReplaces:
    """A job is submitted once these that another run has left behind are over; they are ended for it."""

    request: Request
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JobHadEnded:
    """A run submits a job that has ended on a pilot before, while nobody was there to hear of it."""

    request: Request
    outcome: Outcome
    pilot: str


@dataclass(frozen=True, slots=True)
class JobAdopted:
    """A job that runs on a connected pilot already, since `placed_at`."""

    request: Request
    pilot: str
    placed_at: float


@dataclass(frozen=True, slots=True)
class PilotAdopted:
    """A pilot is connected already, since `connected_at`, that this core has not requested."""

    pilot: str
    pool: str
    host: str
    connected_at: float


@dataclass(frozen=True, slots=True)
class RuleMeasured:
    """What jobs of a rule took in this run that this core has not seen end: the mean."""

    rule: str
    jobs: int
    wall_s: float
    run: int = 1


@dataclass(frozen=True, slots=True)
class JobEnded:
    """A try of a job is over, also where it was lost. A pilot that is lost is told before its jobs are."""

    key: str
    pilot: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class PilotSubmitted:
    """The batch system accepted a pilot as `batch_id` (a process id on this machine)."""

    pilot: str
    batch_id: str


@dataclass(frozen=True, slots=True)
class PilotStartFailed:
    """A pilot could not be submitted, or ended before it connected; `words` are the batch system's, or its log's."""

    pilot: str
    words: str


@dataclass(frozen=True, slots=True)
class PilotConnected:
    pilot: str
    host: str


@dataclass(frozen=True, slots=True)
class PilotGranted:
    """The batch system gave a pilot so many cores."""

    pilot: str
    cores: int


@dataclass(frozen=True, slots=True)
class PilotShared:
    """Others use so much of an external cluster's worker now."""

    pilot: str
    others: Amounts


@dataclass(frozen=True, slots=True)
class PilotDisconnected:
    pilot: str


@dataclass(frozen=True, slots=True)
class PilotGone:
    """Nothing of a lost pilot runs any more, and how its batch job ended."""

    pilot: str
    ended: Ended


@dataclass(frozen=True, slots=True)
class BatchAnswered:
    """The answer to `AskBatch` by batch id; None where the batch system gave none."""

    system: str
    listed: Mapping[str, Listed] | None


@dataclass(frozen=True, slots=True)
class PlanMade:
    """The answer to `MakePlan`; finding it took `seconds`."""

    plan: Plan
    seconds: float


@dataclass(frozen=True, slots=True)
class Woken:
    """The time of the latest `WakeAt` has come."""


@dataclass(frozen=True, slots=True)
class RunEnds:
    """A run is over or interrupted: none of its jobs is placed or reported any more, and those that run are ended."""

    run: int = 1


@dataclass(frozen=True, slots=True)
class ControllerEnds:
    """Place, plan and report nothing any more. Whoever drives ends the pilots, and so all jobs."""


Event: TypeAlias = (
    RunBegins
    | OutlookLearned
    | JobsSubmitted
    | JobUnstarted
    | JobsWithdrawn
    | JobTakenOver
    | JobReplaces
    | JobHadEnded
    | JobAdopted
    | PilotAdopted
    | RuleMeasured
    | JobEnded
    | PilotSubmitted
    | PilotStartFailed
    | PilotConnected
    | PilotGranted
    | PilotShared
    | PilotDisconnected
    | PilotGone
    | BatchAnswered
    | PlanMade
    | Woken
    | RunEnds
    | ControllerEnds
)

# -- instructions ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StartJob:
    """Start a job on a connected pilot; its end comes as `JobEnded`."""

    request: Request
    pilot: str


@dataclass(frozen=True, slots=True)
class EndJob:
    """End a job that runs on a pilot; its end comes as `JobEnded`."""

    key: str
    pilot: str


@dataclass(frozen=True, slots=True)
class RequestPilot:
    """Have a pilot submitted, on none of the `excluded` hosts where the system can be told."""

    pilot: str
    pool: Pool
    excluded: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EndPilot:
    """End a pilot gently and cancel its batch job, whatever it is doing."""

    pilot: str


@dataclass(frozen=True, slots=True)
class BuryPilot:
    """Make sure that nothing of a lost pilot runs any more, and learn how it ended: `PilotGone`."""

    pilot: str
    system: str
    batch_id: str


@dataclass(frozen=True, slots=True)
class AskBatch:
    """Ask a batch system about these batch jobs: `BatchAnswered`."""

    system: str
    batch_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReadPilotLog:
    """Find out what a pilot that the batch system no longer has said last: `PilotStartFailed`."""

    pilot: str
    batch_id: str


@dataclass(frozen=True, slots=True)
class MakePlan:
    """Find out how many pilots to request, which may take a while: `PlanMade`."""

    demands: tuple[Demand, ...]
    supplies: tuple[Supply, ...]


@dataclass(frozen=True, slots=True)
class ReportEnd:
    """Tell Snakemake that a job has ended on a pilot."""

    request: Request
    outcome: Outcome
    pilot: str


@dataclass(frozen=True, slots=True)
class RunOver:
    """Nothing of a run that was to end is left; `waiting` are the keys of its jobs that were never placed."""

    run: int
    summary: Summary
    waiting: frozenset[str]


@dataclass(frozen=True, slots=True)
class Learn:
    """Remember what a job of a run's rule has used, for later runs."""

    rule: str
    usage: Usage
    run: int = 1


@dataclass(frozen=True, slots=True)
class Record:
    """Write a line of a run's journal, or of all runs' that there are; what was before, with its time."""

    event: journal.Event
    run: int = ALL
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Tell:
    """Tell the user, of one run or of all; as a warning where something is wrong."""

    text: str
    warning: bool = False
    run: int = ALL


@dataclass(frozen=True, slots=True)
class GiveUp:
    """No job of a run that waits can ever run: the run fails."""

    error: DaskjqError
    run: int = 1


@dataclass(frozen=True, slots=True)
class DropWorkers:
    """The Dask workers of a try of a job are to end: it has ended, or it is to fail for want of them."""

    leader: str


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Send `Woken` at this time; it takes the place of an earlier one."""

    at: float


Instruction: TypeAlias = (
    StartJob
    | EndJob
    | RequestPilot
    | EndPilot
    | BuryPilot
    | AskBatch
    | ReadPilotLog
    | MakePlan
    | ReportEnd
    | RunOver
    | Learn
    | Record
    | Tell
    | GiveUp
    | DropWorkers
    | WakeAt
)


class Outbox:
    """The instructions of one call, in order."""

    def __init__(self) -> None:
        self._instructions: list[Instruction] = []
        self._counted: list[int] = []

    def add(self, instruction: Instruction) -> None:
        self._instructions.append(instruction)

    def record(self, event: journal.Event, run: int = ALL, at: float | None = None) -> None:
        self.add(Record(event, run, at))

    def tell(self, text: str, *, warning: bool = False, counts: bool = True, run: int = ALL) -> None:
        """With `counts`, how many pilots and jobs there are follows: as it is at the end of the call."""
        if counts:
            self._counted.append(len(self._instructions))
        self.add(Tell(text, warning, run))

    def is_counted(self) -> bool:
        """True if some text wants the counts."""
        return bool(self._counted)

    def take(self, counts: str = "") -> list[Instruction]:
        """All instructions, and an empty outbox."""
        for index in self._counted:
            told = self._instructions[index]
            assert isinstance(told, Tell)
            self._instructions[index] = Tell(f"{told.text} {counts}", told.warning, told.run)
        taken, self._instructions, self._counted = self._instructions, [], []
        return taken
