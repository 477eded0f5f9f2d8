"""A pilot of this machine that is started before its scheduler is, so that both import Dask at the same time.

It saves a third of the time to a local run's first job. The process waits for its arguments on its stdin, whose end is
its end. Nothing here imports Dask: the controller starts a spare pilot before it does so itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..journal.journal import RunFolder

PILOT_MODULE = "snakemake_executor_daskjq.pilot.process"


class Spare:
    """The process of the pilot `name`, which has no arguments yet."""

    def __init__(self, process: asyncio.subprocess.Process, name: str) -> None:
        self.name = name
        self._process = process
        self._is_claimed = False

    @classmethod
    async def start(cls, name: str, folder: RunFolder, cwd: str, environment: Mapping[str, str]) -> Spare:
        """Start the process. Raises OSError."""
        with (folder.pilot_logs / f"{name}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", PILOT_MODULE, "--wait", str(folder.path.absolute())),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=cwd,
                env=environment,
            )
        return cls(process, name)

    def claim(self, arguments: Sequence[str]) -> asyncio.subprocess.Process | None:
        """Have it become the pilot with these arguments; None where it has ended."""
        self._is_claimed = True
        stdin = self._process.stdin
        if self._process.returncode is not None or stdin is None:
            return None
        stdin.write(json.dumps(list(arguments)).encode() + b"\n")
        stdin.close()
        return self._process

    async def discard(self) -> None:
        """End it, unless it has become a pilot."""
        if not self._is_claimed and self._process.returncode is None:
            self._is_claimed = True
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
