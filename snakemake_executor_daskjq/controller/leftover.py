"""What stands in the folder of a run whose Snakemake has died, as long as jobs of it run: under which controller."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

from .door import silent

FILE = "left.json"


@dataclass(frozen=True, slots=True)
class Leftover:
    """Jobs that run without a Snakemake.

    Attributes
    ----------
    run : the name of their run.
    jobs : how many they were when it died.
    controller : the folder of the controller that has them.
    host : where that is.
    file : which says this.
    """

    run: str
    jobs: int
    controller: str
    host: str
    file: str

    @classmethod
    def here(cls, jobs: int, controller: Path, folder: Path) -> Leftover:
        """`folder` is the run's."""
        return cls(folder.name, jobs, str(controller), socket.gethostname(), str(folder / FILE))

    def write(self) -> None:
        """Raises OSError."""
        new = Path(f"{self.file}.new")
        new.write_text(json.dumps(asdict(self)))
        new.replace(self.file)


def forget(folder: Path) -> None:
    """Nothing of a run goes on any more."""
    with contextlib.suppress(OSError):
        (folder / FILE).unlink()


def leftovers(runs: Path) -> list[Leftover]:
    """Those of a folder of runs. What a controller that has died has left is removed: its pilots end by themselves."""
    found = []
    for path in sorted(runs.glob(f"*/{FILE}")):
        with contextlib.suppress(OSError, ValueError, TypeError):
            if path.stat().st_uid != os.getuid():
                continue
            one = Leftover(**json.loads(path.read_text()))
            if silent(Path(one.controller)) is not None:  # it lives, or is on another host
                found.append(one)
            else:
                forget(path.parent)
    return found
