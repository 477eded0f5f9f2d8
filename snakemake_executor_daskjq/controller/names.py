"""Controllers that have a name (`daskjq start`): where they are, whatever the working directory."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..errors import SettingError
from .door import doors

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)


def folder_of(name: str) -> Path:
    """What takes the place of a log folder for the controller of this name.

    It is below `$XDG_STATE_HOME`, else `~/.local/state` (XDG Base Directory Specification). Raises SettingError for
    what is no name.
    """
    if not _NAME.fullmatch(name):
        raise SettingError(
            "controller", name, "a name of letters, digits, '.', '-' and '_' that begins with a letter or a digit"
        )
    return _base() / name


def names() -> list[str]:
    """Those of controllers that may be there."""
    base = _base()
    return sorted(path.name for path in base.iterdir() if doors(path / "runs")) if base.is_dir() else []


def stop_command(folder: Path) -> str:
    """How a user ends the controller whose folder this is.

    >>> stop_command(Path("project/.snakemake/daskjq/runs/20261129-100046-1"))
    'daskjq stop'
    """
    base = folder.parent.parent
    return f"daskjq stop {base.name}" if base.parent == _base() else "daskjq stop"


def _base() -> Path:
    state = os.environ.get("XDG_STATE_HOME", "")
    return (Path(state) if os.path.isabs(state) else Path.home() / ".local" / "state") / "daskjq"
