"""What Snakemake and its controller say to each other: one frame a message, one function to write it, one to read it.

| from Snakemake | |
|---|---|
| `open` | the configuration: answered by `pools` or `failed` |
| `attach` | the same to a controller that an earlier run has left: answered by `pools`, `differs` or `ending` |
| `begin` | the run's folder and surroundings: answered by `begun` or `failed` |
| `learn` | what the workflow has before it; once, before the first jobs |
| `jobs` | a batch of them: each ends in one `ends` |
| `unstarted` | a job that failed before it could be submitted |
| `withdraw` | the run ends for a job that has failed: what has not begun is told as withdrawn |
| `reported` | jobs of whose ends Snakemake has heard |
| `ping` | answered by `pong` |
| `stop` | the run is over: answered by `stopped`, the last message. So is the end of the stream |
| `ask_left` | which jobs killed Snakemakes have left: answered by `left` |
| `ask_config` | what the controller was started with: answered by `config` |
| `ask_status` | what it has now: answered by `status` |
| `shut_down` | end all, whoever uses it: the only message of `daskjq stop`, which waits for the end of the stream |
| `end_all` | after `stop`: pilots are not to be kept |

| from the controller | |
|---|---|
| `pools` | what a run is admitted to (`Admission`) |
| `differs` | what keeps a run from using this controller |
| `ending` | its time is over |
| `left`, `config`, `status` | what was asked for |
| `ready` | all is imported: from now on pings are answered at once |
| `begun` | the Dask scheduler runs |
| `failed` | the run could not begin: why |
| `ends` | outcomes of jobs, all that came at a time |
| `tell`, `warn` | lines for the user |
| `give_up` | the run can't go on: why |
| `crashed` | the controller has ended all it had, for a defect |
| `pong`, `stopped` | answers |

What each job needs is written as a list without names, and its job spec as the text that it is: a run may have 100,000.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..model.claim import Claim, LeftJob
from ..model.job_spec import JobSpec
from ..model.outcome import Outcome
from ..model.pool import Pool
from ..model.request import DaskWorkers, Limits, Outlook, Request, WarmStart
from ..policy.status import PilotStatus, RunStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ..config.settings import Config
    from ..frames import Frame

MOST_TEXT = 4 * 2**20
"""Characters of job specs in one frame, but for the last one's."""

_POOL = tuple(field.name for field in fields(Pool))


@dataclass(frozen=True, slots=True)
class Begin:
    """What a run begins with.

    Attributes
    ----------
    base, name : of its `RunFolder`, which is there.
    cwd : the working directory, in which all paths of the run are meant.
    environment : the variables that pilots start with: a Snakefile may have changed them since the process began.
    listens : others are to find the controller while this run is there.
    """

    base: Path
    name: str
    cwd: str
    environment: dict[str, str]
    listens: bool = False


@dataclass(frozen=True, slots=True)
class Admission:
    """What a run has to know of its controller.

    Attributes
    ----------
    pools : completed ones.
    run : the number of the run, of all that the controller has had.
    left : jobs that killed Snakemakes have left, by their outputs (see `claim`).
    """

    pools: tuple[Pool, ...]
    run: int
    left: dict[str, LeftJob]


@dataclass(frozen=True, slots=True)
class Status:
    """What a controller has now: its pilots, and its runs with the names of their folders."""

    pilots: list[PilotStatus]
    runs: list[tuple[str, RunStatus]]


@dataclass(frozen=True, slots=True)
class Ended:
    """A job's end. `pilot` is where it ran."""

    key: str
    pilot: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Stopped:
    """What is left to know of a run when all of it has ended.

    Attributes
    ----------
    waiting : the keys of jobs that were never placed on a pilot.
    lines : what the run used, for the user.
    is_kept : the controller goes on.
    """

    waiting: frozenset[str]
    lines: tuple[str, ...]
    is_kept: bool = False


# -- from Snakemake ----------------------------------------------------------------------------------------------------


def open_frame(config: Config, cores_limit: int | None, surroundings: Mapping[str, Any], op: str = "open") -> Frame:
    """`cores_limit` is Snakemake's `--cores`, `surroundings` are the process' own (`Surroundings.record`)."""
    record = {field.name: getattr(config, field.name) for field in fields(config)}
    record |= {"pools": [_pool_record(pool) for pool in config.pools], "log_folder": str(config.log_folder)}
    return {"op": op, "config": record, "cores_limit": cores_limit, "surroundings": surroundings}


def attach_frame(config: Config, cores_limit: int | None, surroundings: Mapping[str, Any], base: str) -> Frame:
    """`base` is the run's log folder: of jobs that were left, those are told that runs in the same one had."""
    return open_frame(config, cores_limit, surroundings, "attach") | {"base": base}


def read_open(frame: Frame) -> tuple[Config, int | None]:
    from ..config.settings import Config  # the executor has it, and other readers need none

    record = frame["config"]
    own = {
        "pools": tuple(map(_pool, record["pools"])),
        "log_folder": Path(record["log_folder"]),
        "warm_start": WarmStart(record["warm_start"]),
        "limits": Limits(record["limits"]),
    }
    return Config(**{**record, **own}), frame["cores_limit"]


def begin_frame(begin: Begin) -> Frame:
    return {
        "op": "begin",
        "base": str(begin.base),
        "name": begin.name,
        "cwd": begin.cwd,
        "environment": begin.environment,
        "listens": begin.listens,
    }


def read_begin(frame: Frame) -> Begin:
    return Begin(Path(frame["base"]), frame["name"], frame["cwd"], frame["environment"], frame["listens"])


def learn_frame(outlook: Outlook) -> Frame:
    follows = {rule: sorted(after) for rule, after in outlook.follows.items()}
    return {"op": "learn", "jobs": outlook.jobs, "follows": follows, "is_open_ended": outlook.is_open_ended}


def read_learn(frame: Frame) -> Outlook:
    follows = {rule: frozenset(after) for rule, after in frame["follows"].items()}
    return Outlook(frame["jobs"], follows, frame["is_open_ended"])


Job: TypeAlias = "tuple[Request, JobSpec, Claim | None]"
"""A job on its way to the controller; what it is for other runs only where its own may be followed by one."""


def job_frames(jobs: Iterable[Job]) -> Iterator[Frame]:
    """A batch of jobs: in most cases one frame."""
    batch: list[list[Any]] = []
    length = 0
    for request, spec, claim in jobs:
        own = None if claim is None else [claim.mark, claim.outputs, claim.logs, claim.name]
        batch.append([*_request_record(request), spec.text, spec.worker, own])
        length += len(spec.text) + len(spec.worker)
        if length > MOST_TEXT:
            yield {"op": "jobs", "jobs": batch}
            batch, length = [], 0
    if batch:
        yield {"op": "jobs", "jobs": batch}


def read_jobs(frame: Frame, run: int) -> list[Job]:
    jobs: list[Job] = []
    for *record, text, worker, own in frame["jobs"]:
        request = _request(record, run)
        claim = None if own is None else Claim(own[0], tuple(own[1]), tuple(own[2]), own[3])
        jobs.append((request, JobSpec(request.key, text, worker), claim))
    return jobs


def unstarted_frame(request: Request, why: str) -> Frame:
    return {"op": "unstarted", "request": _request_record(request), "why": why}


def read_unstarted(frame: Frame, run: int) -> tuple[Request, str]:
    return _request(frame["request"], run), frame["why"]


def reported_frame(reports: Sequence[tuple[str, bool]]) -> Frame:
    """Keys of jobs, and whether Snakemake has heard of a success."""
    return {"op": "reported", "jobs": reports}


def read_reported(frame: Frame) -> list[tuple[str, bool]]:
    return [(key, success) for key, success in frame["jobs"]]


ASK_CONFIG = {"op": "ask_config"}
ASK_STATUS = {"op": "ask_status"}
SHUT_DOWN = {"op": "shut_down"}


def stop_frame(*, cancel: bool) -> Frame:
    """With `cancel`, running jobs are ended; else there are none."""
    return {"op": "stop", "cancel": cancel}


# -- from the controller -----------------------------------------------------------------------------------------------


def pools_frame(admission: Admission) -> Frame:
    pools = [_pool_record(pool) for pool in admission.pools]
    return left_frame(admission.left) | {"op": "pools", "pools": pools, "run": admission.run}


def read_pools(frame: Frame) -> Admission:
    return Admission(tuple(map(_pool, frame["pools"])), frame["run"], read_left(frame))


def ask_left_frame(base: str) -> Frame:
    """For those of runs in a log folder."""
    return {"op": "ask_left", "base": base}


def left_frame(jobs: Mapping[str, LeftJob]) -> Frame:
    return {"op": "left", "left": jobs}


def read_left(frame: Frame) -> dict[str, LeftJob]:
    return {name: LeftJob(*job) for name, job in frame["left"].items()}


def status_frame(status: Status) -> Frame:
    runs = [[name, asdict(run)] for name, run in status.runs]
    return {"op": "status", "pilots": [asdict(pilot) for pilot in status.pilots], "runs": runs}


def read_status(frame: Frame) -> Status:
    runs = [(name, RunStatus(**run)) for name, run in frame["runs"]]
    return Status([PilotStatus(**pilot) for pilot in frame["pilots"]], runs)


def text_frame(op: str, text: str) -> Frame:
    """Of `failed`, `differs`, `tell`, `warn`, `give_up` or `crashed`."""
    return {"op": op, "text": text}


def ends_frame(ends: Iterable[Ended]) -> Frame:
    return {"op": "ends", "ends": [[end.key, end.pilot, *end.outcome.record()] for end in ends]}


def read_ends(frame: Frame) -> list[Ended]:
    return [Ended(key, pilot, Outcome.of_record(record)) for key, pilot, *record in frame["ends"]]


def stopped_frame(stopped: Stopped) -> Frame:
    return {
        "op": "stopped",
        "waiting": sorted(stopped.waiting),
        "lines": stopped.lines,
        "is_kept": stopped.is_kept,
    }


def read_stopped(frame: Frame) -> Stopped:
    return Stopped(frozenset(frame["waiting"]), tuple(frame["lines"]), frame["is_kept"])


# -- what messages hold ------------------------------------------------------------------------------------------------


def _pool_record(pool: Pool) -> dict[str, Any]:
    record = {name: getattr(pool, name) for name in _POOL}
    return record | {"scratch_folder": pool.scratch_folder and str(pool.scratch_folder)}


def _pool(record: Mapping[str, Any]) -> Pool:
    own: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in record.items()}
    return Pool(**{**own, "scratch_folder": record["scratch_folder"] and Path(record["scratch_folder"])})


def _request_record(request: Request) -> list[Any]:
    workers = request.workers
    return [
        request.key,
        request.job_id,
        request.rule,
        request.attempt,
        request.amounts,
        request.runtime_s,
        request.pools,
        request.priority,
        request.beyond,
        None if workers is None else [workers.count, workers.least, workers.amounts, workers.pools],
    ]


def _request(record: Sequence[Any], run: int) -> Request:
    key, job_id, rule, attempt, amounts, runtime_s, pools, priority, beyond, workers = record
    pools = None if pools is None else tuple(pools)
    wanted = None
    if workers is not None:
        count, least, own, names = workers
        wanted = DaskWorkers(count, least, own, None if names is None else tuple(names))
    return Request(key, job_id, rule, attempt, amounts, runtime_s, pools, priority, beyond, wanted, run=run)
