"""The Dask task of a job. It is a coroutine: it runs in the worker's event loop and holds no thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model.outcome import End, Outcome
from .client import rule_host

if TYPE_CHECKING:
    from ..model.request import Launch


async def run_job(launch: Launch) -> Outcome:
    """Run one job on this pilot and tell how it ended. Never raises for what a job or its start does."""
    try:
        host = await rule_host()
    except OSError as error:
        return Outcome(End.NOT_STARTED, detail=str(error))
    return await host.run(launch)
