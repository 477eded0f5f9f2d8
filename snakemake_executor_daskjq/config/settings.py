"""The options `--daskjq-*`, and the one validated configuration that the rest of daskjq works with.

Snakemake offers each field of `ExecutorSettings` on the command line (`--daskjq-max-pilots`), in profiles
(`daskjq-max-pilots:`) and as an environment variable (`SNAKEMAKE_DASKJQ_MAX_PILOTS`). `configure` turns
them into a `Config` or raises a `SettingError`. Nothing here asks the machine or a batch system.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

# Snakemake builds the command line from the annotations themselves: no `from __future__ import annotations`
# in this module, and typing.Optional, which is the only union that it reads.
from typing import Any, Optional, TypeVar

from snakemake_interface_executor_plugins.settings import ExecutorSettingsBase

from .. import batch
from ..errors import PlaceError, SettingError
from ..model.pool import Pool
from ..model.request import WARM_UP_S, Limits, WarmStart


def _option(help_text: str, default: Any = None, **metadata: Any) -> Any:
    return field(default=default, metadata={"help": help_text, "env_var": True, **metadata})


def _list_option(help_text: str, **metadata: Any) -> Any:
    return field(default_factory=list, metadata={"help": help_text, "env_var": True, "nargs": "+", **metadata})


@dataclass
class ExecutorSettings(ExecutorSettingsBase):  # type: ignore[misc]
    """Options of the daskjq executor, as the user gives them. See `configure` for what is allowed."""

    system: Optional[str] = _option(
        "Where pilots run: local (this machine), slurm, pbs, sge, lsf, oar, htcondor or moab. Default: local.",
        metavar="SYSTEM",
    )
    pools: Optional[Path] = _option(
        "YAML file with any number of pools (kinds of pilots), instead of the options that describe one: "
        "see the README. 'daskjq pools check' shows what would be submitted.",
        metavar="FILE",
    )
    cores: Optional[int] = _option(
        "Cores of one pilot. Default on the local system: --cores, else what the CPU affinity and the cgroup allow.",
        metavar="N",
    )
    memory: Optional[str] = _option(
        "Memory of one pilot, such as 64GB or 60GiB; a bare number is MB. Default on the local system: what "
        "this machine and the cgroup allow.",
        metavar="SIZE",
    )
    walltime: Optional[str] = _option(
        "Walltime of one pilot: [DAYS-]HH:MM[:SS], or a time such as 4h. Default: the dask-jobqueue "
        "configuration's (30 minutes if that says nothing); none on the local system.",
        metavar="TIME",
    )
    gpus: Optional[int] = _option(
        "GPUs of one pilot, offered to rules as the resource gpu. Slurm is asked for --gres=gpu:N, PBS for ngpus=N, "
        "HTCondor for request_gpus, unless a directive names GPUs; ask other batch systems with a directive.",
        metavar="N",
    )
    resources: list[str] = _list_option(
        "Further amounts that one pilot offers and rules consume, such as licenses=2 disk_mb=100000.",
        metavar="NAME=INT",
    )
    max_pilots: Optional[int] = _option(
        "At most this many pilots at a time. Default: 1 on the local system, 10 elsewhere.", metavar="N"
    )
    max_cores: Optional[int] = _option(
        "At most this many cores at a time in all pilots together, also those in the queue. Default: no limit.",
        metavar="N",
    )
    max_core_hours: Optional[float] = _option(
        "When the pilots of all pools together have used so many core-hours, no more are requested; the run fails when "
        "the last of them has ended and jobs still wait. Default: no limit.",
        metavar="HOURS",
    )
    idle_timeout: Optional[str] = _option("A pilot without work ends after this time. Default: 60s.", metavar="TIME")
    queue: Optional[str] = _option("Queue or partition that pilots are submitted to.", metavar="NAME")
    account: Optional[str] = _option("Account or project that pilots are charged to.", metavar="NAME")
    parallel_environment: Optional[str] = _option(
        "Grid Engine's parallel environment that gives a pilot its cores as slots of one host ('-pe NAME CORES'); "
        "'qconf -spl' lists them.",
        metavar="NAME",
    )
    directives: list[str] = _list_option(
        "Further directives for the job script's header, without the prefix, such as '--qos=short'.",
        metavar="DIRECTIVE",
    )
    prologue: list[str] = _list_option(
        "Shell lines that run in the job script before the pilot, such as 'module load gcc'.",
        metavar="LINE",
    )
    warm_start: Optional[str] = _option(
        "The fastest way in which a job may be started: direct (the main process works out the command, as for a local "
        "job; all but run: and a few others), workflow (a fork of a process that has parsed the Snakefile), import (a "
        "fork of one that has Snakemake imported) or off (a new Snakemake for each job). What a way is not right for "
        "takes the next one. Default: direct.",
        default="direct",
        metavar="LEVEL",
    )
    limits: Optional[str] = _option(
        "What becomes of a job that goes over its mem_mb or its runtime: enforce (it is ended, and fails with that "
        "reason; Snakemake's retries may ask for more), warn (it goes on) or off. A rule that states none has no "
        "limit. Default: enforce.",
        default="enforce",
        metavar="WHAT",
    )
    lease: Optional[str] = _option(
        "A pilot that has been out of touch with the controller for this long ends its jobs and itself; they start "
        "elsewhere after that. A controller that has not answered Snakemake for this long is given up. Default: 60s.",
        default="60s",
        metavar="TIME",
    )
    warm_up_timeout: Optional[str] = _option(
        "A pilot that has not parsed the Snakefile after this time starts its jobs in a slower way. A parse may hang: "
        "on a network file system, for example, or on a lock. Default: 5m.",
        default="5m",
        metavar="TIME",
    )
    max_jobs_per_timespan: Optional[str] = _option(
        "How many jobs may be handed over in a time, such as 100/1s, whatever --max-jobs-per-timespan says. By itself "
        "that counts, but for Snakemake's default (the same 100/1s), which is lifted: pilots need no such limit.",
        metavar="N/TIME",
    )
    keep: Optional[str] = _option(
        "Keep pilots for this time after the run's end: the next run in the same log folder uses them, without a wait "
        "in the queue. They end by themselves when the time is over. Default: 0, all ends with the run.",
        metavar="TIME",
    )
    controller: Optional[str] = _option(
        "Use the pilots of the controller of this name, which 'daskjq start NAME' has started; several runs may at a "
        "time. What describes pilots is the controller's.",
        metavar="NAME",
    )
    scheduler: Optional[str] = _option(
        "A Dask scheduler that runs already: tcp://HOST:PORT, tls://HOST:PORT or a scheduler file. Its workers, which "
        "need daskjq in their environment, run the jobs; no pilots are started, and others' tasks are left alone.",
        metavar="ADDRESS",
    )
    config_name: Optional[str] = _option(
        "Section of the site's dask-jobqueue configuration (jobqueue.yaml) to take defaults from. "
        "Default: the system's own section.",
        metavar="NAME",
    )
    log_folder: Optional[Path] = _option(
        "Folder for the journal and the logs of jobs and pilots; pilots must reach it. "
        "Default: .snakemake/daskjq in the working directory.",
        metavar="DIR",
    )
    keep_successful_logs: bool = _option(
        "Keep the logs of jobs that succeed, too. Without it there are those of jobs that run or have failed, so that "
        "many short jobs don't fill a file system with files.",
        default=False,
    )
    scratch_folder: Optional[Path] = _option(
        "Folder on the pilot's host for Dask's own temporary files. Default: the host's temporary directory.",
        metavar="DIR",
    )
    interface: Optional[str] = _option(
        "Network interface that the scheduler and the pilots talk over, such as ib0. Default: the one that "
        "reaches the network; loopback on the local system.",
        metavar="NAME",
    )
    dashboard_address: Optional[str] = _option(
        "HOST:PORT of Dask's dashboard (needs bokeh). It has no login: keep it on 127.0.0.1 and reach it "
        "through an SSH tunnel. Default: no dashboard.",
        metavar="HOST:PORT",
    )

    def __post_init__(self) -> None:
        if self.pools is not None:  # named before Snakemake goes to --directory
            self.pools = self.pools.absolute()


LOG_FOLDER = Path(".snakemake", "daskjq")
"""Where the user names none."""


@dataclass(frozen=True, slots=True)
class Config:
    """Validated settings: what the rest of daskjq works with."""

    pools: tuple[Pool, ...]
    log_folder: Path
    interface: str | None = None
    dashboard_address: str | None = None
    warm_start: WarmStart = WarmStart.DIRECT
    limits: Limits = Limits.ENFORCE
    lease_s: float = 60.0
    warm_up_s: float = WARM_UP_S
    scheduler: str | None = None
    max_jobs_per_timespan: str | None = None
    keep_successful_logs: bool = False
    keep_s: float = 0.0
    max_cores: int | None = None
    max_core_hours: float | None = None

    @property
    def local(self) -> bool:
        return self.scheduler is None and batch.are_this_machine(self.pools)


SHORTEST_LEASE_S = 10.0
"""Several questions to the scheduler, and the time that ending jobs takes."""

SHORTEST_WARM_UP_S = 5.0
"""What importing Snakemake may take alone."""

POOL_OPTIONS = (
    *("system", "cores", "memory", "walltime", "gpus", "resources", "max_pilots", "idle_timeout", "queue", "account"),
    *("parallel_environment", "directives", "prologue", "config_name", "scratch_folder"),
)
"""The options that describe a pool, named as the keys of a pools file are."""


def configure(settings: ExecutorSettings) -> Config:
    """Validate `settings`.

    Raises
    ------
    SettingError : for the first setting whose value is not allowed.
    """
    if settings.warm_start not in tuple(WarmStart):
        raise SettingError("warm_start", settings.warm_start, f"one of {', '.join(WarmStart)}")
    if settings.controller is not None and settings.scheduler is not None:
        raise SettingError("controller", settings.controller, "nothing beside --daskjq-scheduler")
    if settings.limits not in tuple(Limits):
        raise SettingError("limits", settings.limits, f"one of {', '.join(Limits)}")
    return Config(
        pools=_pools(settings),
        log_folder=settings.log_folder or LOG_FOLDER,
        interface=settings.interface,
        dashboard_address=_address("dashboard_address", settings.dashboard_address),
        warm_start=WarmStart(settings.warm_start),
        limits=Limits(settings.limits),
        lease_s=_at_least(SHORTEST_LEASE_S, "lease", settings.lease or "60s"),
        warm_up_s=_at_least(SHORTEST_WARM_UP_S, "warm_up_timeout", settings.warm_up_timeout or "5m"),
        scheduler=settings.scheduler,
        keep_successful_logs=settings.keep_successful_logs,
        keep_s=_keep(settings),
        max_cores=_positive("max_cores", settings.max_cores),
        max_core_hours=_positive("max_core_hours", settings.max_core_hours),
        max_jobs_per_timespan=_rate("max_jobs_per_timespan", settings.max_jobs_per_timespan),
    )


OF_A_RUN = frozenset(
    ("keep_s", "keep_successful_logs", "limits", "log_folder", "max_jobs_per_timespan", "warm_start", "warm_up_s")
)
"""What is a run's own affair in a `Config`: runs of one controller may differ in it."""

OPTIONS = {"pools": (*POOL_OPTIONS, "pools"), "lease_s": ("lease",)}
"""The options by which a field of `Config` is given, where that is not one of the same name."""


def adopted(own: Config, settings: ExecutorSettings, theirs: Config) -> Config:
    """The configuration of a run that uses a controller which has its own: `theirs`, but for what is the run's affair.

    What `settings` state of the rest stays as stated, and may differ then.
    """
    stated = {name for name, default in _DEFAULTS.items() if getattr(settings, name) != default}
    kept = {
        one.name
        for one in fields(Config)
        if one.name in OF_A_RUN or stated.intersection(OPTIONS.get(one.name, (one.name,)))
    }
    return replace(theirs, **{name: getattr(own, name) for name in kept})


_DEFAULTS = {one.name: getattr(ExecutorSettings(), one.name) for one in fields(ExecutorSettings)}


def check_given_once(argv: Sequence[str]) -> None:
    """Refuse an option of several words that stands twice on a command line: argparse would drop the first.

    >>> check_given_once(["snakemake", "--daskjq-directives=-q short", "--daskjq-directives=-pe smp 2"])
    Traceback (most recent call last):
    snakemake_executor_daskjq.errors.SettingError: --daskjq-directives: found '2 times', allowed is once, with all \
words behind it (a string may hold several).

    Raises
    ------
    SettingError : with the option.
    """
    for option in fields(ExecutorSettings):
        flag = f"--daskjq-{option.name.replace('_', '-')}"
        times = sum(word == flag or word.startswith(f"{flag}=") for word in argv)
        if times > 1 and "nargs" in option.metadata:
            allowed = "once, with all words behind it (a string may hold several)"
            raise SettingError(option.name, f"{times} times", allowed)


def check_places(cwd: Path, config: Config) -> None:
    """Refuse folders whose names no pilot could be started with; a run would fail late, and say something else.

    Raises
    ------
    PlaceError : for a path with a control character (a newline): OpenSSL, job scripts and listings of files take
        none.
    SettingError : for a log folder with a blank where a job script can't name it.
    """
    for what, path in (("working directory", cwd), ("log folder", config.log_folder)):
        if any(ord(character) < 32 or ord(character) == 127 for character in str(path)):
            raise PlaceError(what, str(path))
    absolute = cwd / config.log_folder
    # Job scripts name what lies below the working directory from there.
    named = absolute.relative_to(cwd) if absolute.is_relative_to(cwd) else absolute
    systems = [pool.system for pool in config.pools if not batch.system(pool.system).blanks_in_paths]
    if systems and any(character.isspace() for character in str(named)):
        raise SettingError("log_folder", str(config.log_folder), f"a path without blanks with the system {systems[0]}")


def _pools(settings: ExecutorSettings) -> tuple[Pool, ...]:
    """The pools of the file, or the one that options describe."""
    from ..model.pool import name_of
    from .pools import pool_of, read  # every start of Snakemake imports this module, few read pools

    stated = {name: value for name in POOL_OPTIONS if (value := getattr(settings, name)) not in (None, [])}
    if settings.scheduler is not None:
        return _no_pools(settings, stated)
    if settings.pools is None:
        stated.setdefault("system", "local")
        return (pool_of(name_of(settings.queue, str(stated["system"])), stated),)
    for option, value in stated.items():
        raise SettingError(option, value, f"nothing beside --daskjq-pools: state it in {settings.pools}")
    return read(settings.pools)


def _no_pools(settings: ExecutorSettings, stated: dict[str, Any]) -> tuple[Pool, ...]:
    """The workers of a scheduler that runs already are what they are."""
    beside = ("pools", "interface", "dashboard_address")
    for option in (*stated, *(name for name in beside if getattr(settings, name) is not None)):
        if option not in ("system", "idle_timeout"):  # these have defaults
            raise SettingError(option, getattr(settings, option), "nothing beside --daskjq-scheduler")
    return ()


def _at_least(least_s: float, option: str, text: str) -> float:
    from ..units import seconds

    time_s = seconds(option, text)
    if time_s < least_s:
        raise SettingError(option, text, f"at least {least_s:.0f}s")
    return time_s


def check_max_cores(max_cores: int | None, pools: Sequence[Pool]) -> None:
    """Raises SettingError where no pilot of a pool could ever be requested."""
    for pool in pools:
        if max_cores is not None and pool.all_cores > max_cores:
            raise SettingError("max_cores", max_cores, f"at least {pool.all_cores}, the cores of a pilot ({pool.name})")


Amount = TypeVar("Amount", int, float)


def _positive(option: str, amount: Optional[Amount]) -> Optional[Amount]:
    if amount is not None and not (isinstance(amount, int | float) and 0 < amount < math.inf):
        raise SettingError(option, amount, "a number above 0")
    return amount


def _keep(settings: ExecutorSettings) -> float:
    from ..units import seconds

    if settings.keep in (None, "0"):
        return 0.0
    if settings.scheduler is not None:
        raise SettingError("keep", settings.keep, "nothing beside --daskjq-scheduler: its workers stay anyway")
    return float(seconds("keep", settings.keep))


def _rate(option: str, text: str | None) -> str | None:
    if text is not None and not re.fullmatch(r"[1-9]\d*/[1-9]\d*(ms|s|m|h|d|w)", text):
        raise SettingError(option, text, "a number of jobs and a time, such as 100/1s or 5000/10m")
    return text


def _address(option: str, text: str | None) -> str | None:
    if text is None:
        return None
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise SettingError(option, text, "HOST:PORT, such as 127.0.0.1:8787")
    return text
