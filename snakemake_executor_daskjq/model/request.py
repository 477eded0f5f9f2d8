"""What one Snakemake job asks for, and what has to be started for it."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TypeAlias

Amounts: TypeAlias = dict[str, int]
"""Consumable resources by name: `cores`, `mem_mb` and `disk_mb` (MB of 10^6 bytes), `gpu_percent` (100 for each
GPU, so that shares of one stay whole numbers), custom ones."""

Shape: TypeAlias = tuple[tuple[tuple[str, int], ...], int | None, tuple[str, ...] | None]
"""What placement can tell apart: sorted amounts, runtime in seconds, pools."""


@dataclass(frozen=True, slots=True)
class DaskWorkers:
    """The Dask workers of a rule's cluster that are jobs of the run themselves, on whichever pilots have room.

    Attributes
    ----------
    count : how many there are to be.
    least : with so many the rule's job can begin.
    amounts : what each of them consumes.
    pools : the only pools that may run them, None for any.
    """

    count: int
    least: int
    amounts: Amounts
    pools: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """The resources of one job (or group job) at one attempt.

    Attributes
    ----------
    key : unique within a run; names the Dask task and the log.
    job_id : Snakemake's job id.
    rule : the rule's name, or the group's.
    attempt : Snakemake's attempt, from 1.
    amounts : what the job consumes while it runs. Never changed after creation.
    runtime_s : the longest the job may take in seconds, None where the user states none.
    pools : the only pools that may run it, None for any.
    priority : Snakemake's priority; higher goes first.
    beyond : what the user states of amounts that are more than this machine has, where `amounts` hold all of it
        (or nothing, where there is none). Empty on a cluster, where such a request is refused.
    workers : the Dask workers that it wants on other pilots; None for none.
    leader : the key of the job that it is a Dask worker of; "" for a job of Snakemake's.
    run : the number of its run, of those that its controller has had.
    """

    key: str
    job_id: int
    rule: str
    attempt: int
    amounts: Amounts
    runtime_s: int | None = None
    pools: tuple[str, ...] | None = None
    priority: int = 0
    beyond: Amounts = field(default_factory=dict)
    workers: DaskWorkers | None = None
    leader: str = ""
    run: int = 1

    @property
    def shape(self) -> Shape:
        return tuple(sorted(self.amounts.items())), self.runtime_s, self.pools

    def may_use(self, pool: str) -> bool:
        """True if the pool of that name is open to this job; its amounts may still be too small."""
        return self.pools is None or pool in self.pools


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a run has before it, by rule, when its first jobs come.

    Attributes
    ----------
    jobs : how many are still to be submitted.
    follows : the rules whose jobs need output of a rule's.
    is_open_ended : there may be more than that: a checkpoint decides.
    """

    jobs: dict[str, int]
    follows: dict[str, frozenset[str]]
    is_open_ended: bool = False


class WarmStart(enum.StrEnum):
    """How much of a job's start is done before, from cold to warm."""

    OFF = "off"  # a new `python -m snakemake`
    IMPORT = "import"  # a fork of a process that has Snakemake imported
    WORKFLOW = "workflow"  # a fork of a process that has the Snakefile parsed, too
    DIRECT = "direct"  # no Snakemake at all: the main process has worked out the command


class Limits(enum.StrEnum):
    """What becomes of a job that goes over its `mem_mb` or its `runtime`."""

    ENFORCE = "enforce"  # it is ended, and fails with that reason
    WARN = "warn"  # it goes on, and the user is told
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Grant:
    """What a pilot has set aside for a job while it runs.

    Attributes
    ----------
    cpus : the CPUs that it is pinned to, by the kernel's numbers; none where it may use all.
    tmpdir : a folder of its own, removed at its end; "" for none.
    env : variables that tell the job so.
    """

    cpus: tuple[int, ...] = ()
    tmpdir: str = ""
    env: dict[str, str] = field(default_factory=dict)


WARM_UP_S = 300.0
"""How long a launcher may take to be ready, where the user states nothing. Users report parses of two minutes."""

TMPDIR = "/tmp/the-folder-of-this-daskjq-job"
"""Stands for a job's folder for temporary files until its pilot has made one (nothing in it has to be quoted)."""


def template_of(path: str) -> str:
    """Where a file of `Command.fill` is kept as it was: another try has another folder."""
    return f"{path}.unfilled"


@dataclass(frozen=True, slots=True)
class Command:
    """The processes that a job is, where it needs no Snakemake of its own. `TMPDIR` stands in all its texts.

    Attributes
    ----------
    argvs : as `execve` gets them; several where a benchmark repeats the job, one after the other.
    cwd : the working directory.
    env : variables that Snakemake, or the Snakefile, has set. May hold secrets, so it is never shown.
    unset : variables that the Snakefile has removed.
    stale : what is removed before each try: a path, and whether a folder goes with all that is in it.
    products : what the command makes, its log files included.
    folders : those that must be there; on another machine they may not be seen yet.
    wait_for : files that must be there before it starts.
    latency_wait_s : how long to wait for them, and for products that the command's own processes write after its end.
    fill : files in which `TMPDIR` has to be replaced.
    benchmark : whether its use of time and memory is to be measured as Snakemake does.
    """

    argvs: tuple[tuple[str, ...], ...]
    cwd: str
    env: dict[str, str] = field(default_factory=dict, repr=False)
    unset: tuple[str, ...] = ()
    stale: tuple[tuple[str, bool], ...] = ()
    products: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    wait_for: tuple[str, ...] = ()
    latency_wait_s: float = 0.0
    fill: tuple[str, ...] = ()
    benchmark: bool = False


@dataclass(frozen=True, slots=True)
class Launch:
    """What a pilot starts for a request.

    Attributes
    ----------
    key : the request's key.
    common_argv : arguments of `python -m snakemake` that all jobs of the run share.
    job_argv : those of this job.
    cwd : the working directory; "" for a new folder on the pilot's host, which is removed when the job ends.
    storage_prefix : the folder in which the job gets one of its own for copies of stored files; environment
        variables are the pilot's. "" where all jobs share them.
    log_path : receives the child's output; one file a job and attempt.
    python : the interpreter.
    precommand : shell code that must succeed before (Snakemake's `--precommand`), or "".
    env : variables added to the pilot's own environment; may hold secrets, so it is never shown.
    warm_start : the fastest level that may be used.
    warm_up_s : how long it may take to make ready for a level; the job then starts colder.
    colder_because : why that is not the one that the user allows; "" if it is.
    command : what to execute at the level `direct`, None where the job is a Snakemake of its own.
    amounts : what the request consumes.
    beyond : of the request.
    runtime_s : the longest the job may take in seconds, None for any time.
    limits : what becomes of the job beyond `mem_mb` and `runtime_s`.
    grant : filled in by the pilot.
    """

    key: str
    common_argv: tuple[str, ...]
    job_argv: tuple[str, ...]
    cwd: str
    log_path: str
    python: str
    precommand: str = ""
    storage_prefix: str = ""
    env: dict[str, str] = field(default_factory=dict, repr=False)
    warm_start: WarmStart = WarmStart.OFF
    warm_up_s: float = WARM_UP_S
    colder_because: str = ""
    command: Command | None = None
    amounts: Amounts = field(default_factory=dict)
    beyond: Amounts = field(default_factory=dict)
    runtime_s: int | None = None
    limits: Limits = Limits.ENFORCE
    grant: Grant = field(default_factory=Grant)

    @property
    def argv(self) -> list[str]:
        """All arguments of `python -m snakemake`."""
        return [*self.common_argv, *self.job_argv]

    @property
    def mem_limit_mb(self) -> int | None:
        """What the job may use: what the user states, also where that is more than there is."""
        return self.beyond.get("mem_mb", self.amounts.get("mem_mb"))
