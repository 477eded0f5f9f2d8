"""The options `--daskjq-*`, and the one validated configuration that the rest of daskjq works with.

Snakemake offers each field of `ExecutorSettings` on the command line (`--daskjq-max-pilots`), in profiles
(`daskjq-max-pilots:`) and as an environment variable (`SNAKEMAKE_DASKJQ_MAX_PILOTS`). `configure` turns
them into a `Config` or raises a `SettingError`. Nothing here asks the machine or a batch system.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

# Snakemake builds the command line from the annotations themselves: no `from __future__ import annotations`
# in this module, and typing.Optional, which is the only union that it reads.
from typing import Any, Optional

from snakemake_interface_executor_plugins.settings import ExecutorSettingsBase

from .errors import SettingError
from .model.pool import SYSTEMS, Pool
from .model.request import WarmStart

_RESOURCE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CLOCK = re.compile(r"(?:(?P<days>\d+)-)?(?P<hours>\d+):(?P<minutes>[0-5]?\d)(?::(?P<seconds>[0-5]?\d))?")


def _option(help_text: str, default: Any = None, **metadata: Any) -> Any:
    return field(default=default, metadata={"help": help_text, "env_var": True, **metadata})


def _list_option(help_text: str, **metadata: Any) -> Any:
    return field(default_factory=list, metadata={"help": help_text, "env_var": True, "nargs": "+", **metadata})


@dataclass
class ExecutorSettings(ExecutorSettingsBase):  # type: ignore[misc]
    """Options of the daskjq executor, as the user gives them. See `configure` for what is allowed."""

    system: Optional[str] = _option(
        "Where pilots run: local (this machine), slurm, pbs, sge, lsf, oar, htcondor or moab.",
        default="local",
        metavar="SYSTEM",
    )
    cores: Optional[int] = _option(
        "Cores of one pilot. Default on the local system: what --cores, the CPU affinity and the cgroup allow.",
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
        "GPUs of one pilot, offered to rules as the resource gpu. Ask the batch system for them with a "
        "directive, such as --daskjq-directives='--gres=gpu:2'.",
        metavar="N",
    )
    resources: list[str] = _list_option(
        "Further amounts that one pilot offers and rules consume, such as licenses=2 disk_mb=100000.",
        metavar="NAME=INT",
    )
    max_pilots: Optional[int] = _option(
        "At most this many pilots at a time. Default: 1 on the local system, 10 elsewhere.", metavar="N"
    )
    idle_timeout: Optional[str] = _option(
        "A pilot without work ends after this time. Default: 60s.", default="60s", metavar="TIME"
    )
    queue: Optional[str] = _option("Queue or partition that pilots are submitted to.", metavar="NAME")
    account: Optional[str] = _option("Account or project that pilots are charged to.", metavar="NAME")
    directives: list[str] = _list_option(
        "Further directives for the job script's header, without the prefix, such as '--qos=short'.",
        metavar="DIRECTIVE",
    )
    prologue: list[str] = _list_option(
        "Shell lines that run in the job script before the pilot, such as 'module load gcc'.",
        metavar="LINE",
    )
    warm_start: Optional[str] = _option(
        "How much of a job's start is done before: off (a new Snakemake for each job), import (a fork of a process "
        "that has Snakemake imported) or workflow (a fork of one that has the Snakefile parsed too; Snakefiles whose "
        "parse can't be shared fall back to import). Default: workflow.",
        default="workflow",
        metavar="LEVEL",
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


@dataclass(frozen=True, slots=True)
class Config:
    """Validated settings: what the rest of daskjq works with."""

    pools: tuple[Pool, ...]
    log_folder: Path
    scratch_folder: Path | None = None
    interface: str | None = None
    dashboard_address: str | None = None
    warm_start: WarmStart = WarmStart.WORKFLOW

    @property
    def local(self) -> bool:
        return all(pool.system == "local" for pool in self.pools)


def configure(settings: ExecutorSettings) -> Config:
    """Validate `settings`.

    Raises
    ------
    SettingError : for the first setting whose value is not allowed.
    """
    system = settings.system or "local"
    if system not in SYSTEMS:
        raise SettingError("system", system, f"one of {', '.join(SYSTEMS)}")
    local = system == "local"
    if local:
        for option in ("queue", "account", "directives", "prologue", "config_name"):
            if getattr(settings, option):
                raise SettingError(
                    option,
                    getattr(settings, option),
                    "nothing with the system local (did you mean a --daskjq-system?)",
                )
    max_pilots = 1 if local else 10
    if settings.max_pilots is not None:
        max_pilots = _at_least(1, "max_pilots", settings.max_pilots)
    others = _resources(settings.resources)
    if settings.gpus is not None:
        others["gpu"] = _at_least(0, "gpus", settings.gpus)
    if settings.warm_start not in tuple(WarmStart):
        raise SettingError("warm_start", settings.warm_start, f"one of {', '.join(WarmStart)}")
    pool = Pool(
        name=settings.queue if settings.queue and _RESOURCE_NAME.fullmatch(settings.queue) else system,
        system=system,
        cores=None if settings.cores is None else _at_least(1, "cores", settings.cores),
        mem_mb=None if settings.memory is None else megabytes("memory", settings.memory),
        walltime_s=None if settings.walltime is None else round(seconds("walltime", settings.walltime)),
        others=others,
        max_pilots=max_pilots,
        idle_timeout_s=seconds("idle_timeout", settings.idle_timeout or "60s"),
        queue=_one_line("queue", settings.queue),
        account=_one_line("account", settings.account),
        directives=tuple(_lines("directives", settings.directives)),
        prologue=tuple(_lines("prologue", settings.prologue)),
        config_name=settings.config_name,
    )
    if pool.walltime_s is not None and pool.walltime_s < 60:
        raise SettingError("walltime", settings.walltime, "at least one minute")
    return Config(
        pools=(pool,),
        log_folder=settings.log_folder or Path(".snakemake", "daskjq"),
        scratch_folder=settings.scratch_folder,
        interface=settings.interface,
        dashboard_address=_address("dashboard_address", settings.dashboard_address),
        warm_start=WarmStart(settings.warm_start),
    )


def megabytes(option: str, text: str) -> int:
    """Whole MB (10^6 bytes) in a size, rounded down: a pilot never offers more than it has.

    >>> megabytes("memory", "64GB"), megabytes("memory", "1GiB"), megabytes("memory", "500")
    (64000, 1073, 500)
    >>> megabytes("memory", "lots")
    Traceback (most recent call last):
    snakemake_executor_daskjq.errors.SettingError: --daskjq-memory: found 'lots', allowed is a size such as \
64GB, 60GiB or 500 (MB).
    """
    import humanfriendly

    text = text.strip()
    try:
        size = int(text) if text.isdecimal() else int(humanfriendly.parse_size(text)) // 10**6
    except (humanfriendly.InvalidSize, ValueError):  # it raises the latter for digits such as ²
        size = 0
    if size <= 0:
        raise SettingError(option, text, "a size such as 64GB, 60GiB or 500 (MB)")
    return size


def seconds(option: str, text: str) -> float:
    """Seconds in a time, as batch systems write it or with a unit.

    >>> seconds("walltime", "1-02:00:00"), seconds("walltime", "04:30"), seconds("walltime", "90m")
    (93600.0, 16200.0, 5400.0)
    >>> seconds("walltime", "soon")
    Traceback (most recent call last):
    snakemake_executor_daskjq.errors.SettingError: --daskjq-walltime: found 'soon', allowed is \
[DAYS-]HH:MM[:SS], or a number with a unit such as 90s, 30m, 4h or 2d.
    """
    import humanfriendly

    text = str(text).strip()
    clock = _CLOCK.fullmatch(text)
    if clock:
        parts = {name: int(value or 0) for name, value in clock.groupdict().items()}
        return float(parts["days"] * 86400 + parts["hours"] * 3600 + parts["minutes"] * 60 + parts["seconds"])
    try:
        if not text.isdecimal():  # a bare number could be seconds, minutes or hours
            return float(humanfriendly.parse_timespan(text))
    except (humanfriendly.InvalidTimespan, ValueError):
        pass
    raise SettingError(option, text, "[DAYS-]HH:MM[:SS], or a number with a unit such as 90s, 30m, 4h or 2d")


def _at_least(least: int, option: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise SettingError(option, value, f"a whole number from {least}")
    return value


def _resources(pairs: list[str]) -> dict[str, int]:
    amounts: dict[str, int] = {}
    for pair in pairs:
        name, _, amount = pair.partition("=")
        if not _RESOURCE_NAME.fullmatch(name) or not amount.isdecimal():
            raise SettingError("resources", pair, "NAME=INT, such as licenses=2")
        if name in ("cores", "mem_mb", "gpu", "runtime"):
            raise SettingError(
                "resources", pair, "another name (there are --daskjq-cores, -memory, -gpus and -walltime)"
            )
        amounts[name] = int(amount)
    return amounts


def _one_line(option: str, text: str | None) -> str | None:
    if text is not None and (not text.strip() or re.search(r"[\s;&|<>$`'\"\\]", text)):
        raise SettingError(option, text, "one word without shell characters")
    return text


def _lines(option: str, lines: list[str]) -> list[str]:
    for line in lines:
        if "\n" in line or "\r" in line:
            raise SettingError(option, line, "one line each")
    return lines


def _address(option: str, text: str | None) -> str | None:
    if text is None:
        return None
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise SettingError(option, text, "HOST:PORT, such as 127.0.0.1:8787")
    return text
