"""What pilots are started with, and whether a later run could have them."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import asdict, dataclass, fields
from importlib import metadata
from typing import TYPE_CHECKING, Any

from ..config.settings import OF_A_RUN, OPTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..config.settings import Config

PACKAGES = ("snakemake", "snakemake-executor-plugin-daskjq", "dask", "distributed")

OF_A_TERMINAL = re.compile(
    r"_|SHLVL|OLDPWD|PWD|TERM.*|COLUMNS|LINES|WINDOWID|TMUX.*|STY|WINDOW|SSH_.*|XDG_.*|DBUS_.*|DISPLAY|WAYLAND_.*"
    r"|GPG_.*|KRB5CCNAME|XAUTHORITY|INVOCATION_ID|JOURNAL_STREAM|MOTD_SHOWN|HIST.*|PS1|PROMPT.*|LS_COLORS|LESS.*|MAIL|VSCODE_.*|COLORTERM|SNAKEMAKE_.*|_CE_.*"
)
"""Variables in which shells differ without a meaning for jobs."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The environment of Python (`sys.prefix`), versions of what matters, and the variables that pilots start with."""

    python: str
    versions: Mapping[str, str]
    environment: Mapping[str, str]

    @classmethod
    def of_this_process(cls, environment: Mapping[str, str]) -> Surroundings:
        return cls(sys.prefix, {name: metadata.version(name) for name in PACKAGES}, dict(environment))

    def record(self) -> dict[str, Any]:
        """For a frame.

        >>> own = Surroundings.of_this_process({"PATH": "/bin"})
        >>> Surroundings(**own.record()) == own
        True
        """
        return asdict(self)


def versions_that_differ(own: Surroundings, others: Surroundings) -> list[str]:
    """The packages of which one has another version."""
    return [name for name in PACKAGES if own.versions.get(name) != others.versions.get(name)]


def differences(
    kept: tuple[Config, int | None, Surroundings], asked: tuple[Config, int | None, Surroundings]
) -> list[str]:
    """What keeps a run from having the pilots of another: settings by their options, variables, versions.

    Each is a configuration, Snakemake's `--cores`, and the surroundings.
    """
    (config, cores, own), (other_config, other_cores, others) = kept, asked
    found: list[str] = []
    for field in fields(config):
        if field.name not in OF_A_RUN and getattr(config, field.name) != getattr(other_config, field.name):
            option = "what describes its pilots"
            if field.name != "pools":
                option = f"--daskjq-{OPTIONS.get(field.name, (field.name,))[0].replace('_', '-')}"
            found.append(option)
    if config.local and cores != other_cores:
        found.append("--cores")
    if own.python != others.python:
        found.append(f"Python ({own.python})")
    found += versions_that_differ(own, others)
    names = own.environment.keys() | others.environment.keys()
    found += sorted(
        f"the variable {name}"
        for name in names
        if not OF_A_TERMINAL.fullmatch(name) and own.environment.get(name) != others.environment.get(name)
    )
    return found


def environment_now() -> dict[str, str]:
    """The variables of this process."""
    return dict(os.environ)
