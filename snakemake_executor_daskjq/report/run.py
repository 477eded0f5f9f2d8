"""The state of a run, from its journal: which jobs wait, run and have ended, and what pilots there are."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from ..errors import NoRunError
from ..journal.events import Event
from ..journal.journal import is_written, read
from ..model.pool import Pool
from ..model.request import Request
from ..policy.pilot_life import PilotLife

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


KINDS = {kind.name for kind in Event.__subclasses__()}


@dataclass(slots=True)
class Job:
    """A job at one attempt. Its tries are more than one where pilots were lost."""

    request: Request
    submitted_at: float
    pilot: str = ""
    placed_at: float = 0.0
    ended: dict[str, Any] | None = None
    held_by: str = ""

    @property
    def waits(self) -> bool:
        return self.ended is None and not self.pilot

    @property
    def runs(self) -> bool:
        return self.ended is None and bool(self.pilot)


@dataclass(slots=True)
class Run:
    """Folded from the events in order; `now` is the last one's time.

    `over` once it has ended, by itself or, `killed`, without a word.
    """

    pools: dict[str, Pool] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    pilots: dict[str, PilotLife] = field(default_factory=dict)
    walls_s: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))  # succeeded, by rule
    ends: list[dict[str, Any]] = field(default_factory=list)  # every `job_ended`
    excluded: dict[str, int] = field(default_factory=dict)  # hosts that get no pilots -> pilots that crashed there
    now: float = 0.0
    over: bool = False
    killed: bool = False

    @classmethod
    def of(cls, events: Iterable[dict[str, Any]]) -> Run:
        run = cls()
        for event in events:
            run.now = max(run.now, float(event.get("t", 0.0)))
            handle = getattr(run, f"_{event['event']}", None) if event.get("event") in KINDS else None
            if handle is not None:
                handle(event)
        return run

    def running_on(self, pilot: str) -> list[Job]:
        return [job for job in self.jobs.values() if job.runs and job.pilot == pilot]

    def expected_s(self, rule: str, runtime_s: int | None) -> float | None:
        """What a job of the rule takes: as measured in this run, else as stated, else unknown."""
        walls = self.walls_s.get(rule)
        return sum(walls) / len(walls) if walls else runtime_s

    def _run_started(self, event: dict[str, Any]) -> None:
        known = {one.name for one in fields(Pool)}
        for name, stated in event["pools"].items():
            self.pools[name] = Pool(**{key: value for key, value in stated.items() if key in known})

    def _run_ended(self, _: dict[str, Any]) -> None:
        self.over = True

    def _job_submitted(self, event: dict[str, Any]) -> None:
        pools = event.get("pools")
        request = Request(
            *(event["key"], event["job_id"], event["rule"], event["attempt"], event["amounts"]),
            runtime_s=event["runtime_s"],
            pools=None if pools is None else tuple(pools),
        )
        self.jobs[request.key] = Job(request, event["t"])

    def _job_held(self, event: dict[str, Any]) -> None:
        self.jobs[event["key"]].held_by = event["by"]

    def _job_placed(self, event: dict[str, Any]) -> None:
        job = self.jobs[event["key"]]
        job.pilot, job.placed_at = event["pilot"], event["t"]

    def _job_ended(self, event: dict[str, Any]) -> None:
        job = self.jobs[event["key"]]
        self.ends.append(event)
        if event["reported"]:
            job.ended = event
        else:
            job.pilot = ""
        if event["end"] == "succeeded":
            self.walls_s[job.request.rule].append(event["ended_at"] - event["started_at"])

    def _job_withdrawn(self, event: dict[str, Any]) -> None:
        self.jobs[event["key"]].ended = {"end": "withdrawn"}

    def _pilot_requested(self, event: dict[str, Any]) -> None:
        self.pilots[event["pilot"]] = PilotLife(event["pilot"], self.pools[event["pool"]], event["t"])

    def _pilot_submitted(self, event: dict[str, Any]) -> None:
        self.pilots[event["pilot"]].submitted(event["batch_id"])

    def _pilot_waits(self, event: dict[str, Any]) -> None:
        self.pilots[event["pilot"]].waits(event["reason"])

    def _pilot_started(self, event: dict[str, Any]) -> None:
        self.pilots[event["pilot"]].connected(event["host"], event["t"])

    def _pilot_failed(self, event: dict[str, Any]) -> None:
        retry_at = event["t"] + event["retry_in_s"] if event["retry_in_s"] else 0.0
        self.pilots[event["pilot"]].start_failed(event["words"], retry_at)

    def _pilot_lost(self, event: dict[str, Any]) -> None:
        self.pilots[event["pilot"]].lost(event["t"])

    def _pilot_gone(self, event: dict[str, Any]) -> None:
        self.pilots[event["pilot"]].went(event["how"])

    def _host_excluded(self, event: dict[str, Any]) -> None:
        self.excluded[event["host"]] = event["crashes"]

    def _pilot_ended(self, event: dict[str, Any]) -> None:
        self.pilots[event["pilot"]].ended(event["why"])


def latest(base: Path) -> Path:
    """The folder of the latest run below `base` (`--daskjq-log-folder`). Raises NoRunError."""
    journals = sorted(base.glob("runs/*/journal.jsonl"), key=lambda path: path.stat().st_mtime)
    if not journals:
        raise NoRunError(str(base / "runs"))
    return journals[-1].parent


def load(folder: Path) -> Run:
    """The run of a folder. Raises NoRunError where it has no journal."""
    path = folder / "journal.jsonl"
    try:
        run = Run.of(read(path))
        if not run.over and not is_written(path):
            run.over = run.killed = True
        return run
    except OSError:
        raise NoRunError(str(folder)) from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NoRunError(f"{path} (it is not as expected: {type(error).__name__} {error})") from None
