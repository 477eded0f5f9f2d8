"""Drives the controller core in a test: says what happens, and keeps what the core wants done."""

from __future__ import annotations

from typing import TypeVar

from snakemake_executor_daskjq.errors import DaskjqError
from snakemake_executor_daskjq.journal import events as journal
from snakemake_executor_daskjq.model.outcome import End, Outcome
from snakemake_executor_daskjq.model.pool import Pool
from snakemake_executor_daskjq.model.request import Request
from snakemake_executor_daskjq.model.usage import Usage
from snakemake_executor_daskjq.policy import messages
from snakemake_executor_daskjq.policy.core import Core
from snakemake_executor_daskjq.policy.planner import plan

START = 1000.0

Kind = TypeVar("Kind", bound=journal.Event)


class Player:
    """A run whose pilots and jobs do what the test says; plans are made at once. Invariants hold after each step."""

    def __init__(self, *pools: Pool, history: dict[str, Usage] | None = None, program: bool = True) -> None:
        self.core = Core(pools)
        self.core.handle(messages.RunBegins(1, history or {}), now=START)
        self.now = START
        self.program = program
        self.wake_at: float | None = None
        self.running: list[tuple[str, str]] = []  # job, pilot
        self.requested: list[str] = []
        self.excluded: dict[str, tuple[str, ...]] = {}
        self.ended: list[str] = []  # pilots that are to end
        self.buried: list[messages.BuryPilot] = []
        self.asked: list[messages.AskBatch] = []
        self.reports: list[tuple[str, End, str]] = []
        self.told: list[str] = []
        self.warnings: list[str] = []
        self.errors: list[DaskjqError] = []
        self.dropped: list[str] = []  # leaders whose workers are to end
        self.journal: list[tuple[float, journal.Event]] = []
        self.others: list[messages.Instruction] = []

    def hear(self, *events: messages.Event) -> None:
        made: list[messages.Event] = []
        for instruction in self.core.handle(*events, now=self.now):
            match instruction:
                case messages.StartJob(request, pilot):
                    self.running.append((request.key, pilot))
                case messages.RequestPilot(pilot, _, excluded):
                    self.requested.append(pilot)
                    self.excluded[pilot] = excluded
                case messages.EndPilot(pilot):
                    self.ended.append(pilot)
                case messages.BuryPilot():
                    self.buried.append(instruction)
                case messages.AskBatch():
                    self.asked.append(instruction)
                case messages.MakePlan(demands, supplies):
                    made.append(messages.PlanMade(plan(demands, supplies, program=self.program), 0.01))
                case messages.ReportEnd(request, outcome, pilot):
                    self.reports.append((request.key, outcome.end, pilot))
                case messages.Record(event):
                    self.journal.append((self.now, event))
                case messages.Tell(text, warning):
                    (self.warnings if warning else self.told).append(text)
                case messages.GiveUp(error):
                    self.errors.append(error)
                case messages.DropWorkers(leader):
                    self.dropped.append(leader)
                case messages.WakeAt(at):
                    self.wake_at = at
                case _:
                    self.others.append(instruction)
        self.core.validate()
        if made:
            self.hear(*made)

    def wait(self, seconds: float) -> None:
        """Let time go by; the core is woken when it wants to be."""
        until = self.now + seconds
        while self.wake_at is not None and self.wake_at <= until:
            self.now, self.wake_at = max(self.now, self.wake_at), None
            self.hear(messages.Woken())
        self.now = until
        self.hear()

    def submit(self, *requests: Request) -> None:
        self.hear(messages.JobsSubmitted(requests))

    def connect(self, pilot: str, host: str = "host") -> None:
        self.hear(messages.PilotSubmitted(pilot, f"id-{pilot}"), messages.PilotConnected(pilot, host))

    def end(self, key: str, end: End = End.SUCCEEDED, detail: str = "", wall_s: float = 8.0) -> None:
        """Let the job's try end."""
        pilot = dict(self.running)[key]
        self.running.remove((key, pilot))
        outcome = Outcome(end, started_at=self.now - wall_s, ended_at=self.now, detail=detail)
        self.hear(messages.JobEnded(key, pilot, outcome))

    def lose(self, pilot: str) -> None:
        """A pilot disconnects, and so its jobs are lost."""
        self.hear(messages.PilotDisconnected(pilot))
        for key in [key for key, where in self.running if where == pilot]:
            self.end(key, End.LOST, "its pilot disconnected")

    def events(self, kind: type[Kind]) -> list[Kind]:
        return [event for _, event in self.journal if isinstance(event, kind)]
