"""What stands in the folder of a run whose Snakemake has died, as long as jobs of it run: under which controller."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from ..journal import journal

if TYPE_CHECKING:
    from pathlib import Path

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
    """

    run: str
    jobs: int
    controller: str
    host: str

    @classmethod
    def here(cls, run: str, jobs: int, controller: Path) -> Leftover:
        return cls(run, jobs, str(controller), socket.gethostname())

    def write(self, folder: Path) -> None:
        """Raises OSError."""
        new = folder / f"{FILE}.new"
        new.write_text(json.dumps(asdict(self)))
        new.replace(folder / FILE)


def forget(folder: Path) -> None:
    """Nothing of a run goes on any more."""
    with contextlib.suppress(OSError):
        (folder / FILE).unlink()


def leftovers(runs: Path) -> list[Leftover]:
    """Those of a folder of runs. Where a controller that has died has left one, its journal is not locked any more."""
    found = []
    for path in sorted(runs.glob(f"*/{FILE}")):
        with contextlib.suppress(OSError, ValueError, TypeError):
            if path.stat().st_uid == os.getuid() and journal.is_written(path.parent / "journal.jsonl"):
                found.append(Leftover(**json.loads(path.read_text())))
    return found
