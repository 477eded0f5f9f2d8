"""Await what has no event of its own."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from pathlib import Path


async def appears(path: Path) -> str:
    """What is in a file, once something is."""
    while not path.exists() or not path.read_text().strip():
        await asyncio.sleep(0.01)
    return path.read_text().strip()


async def gone(pid: int) -> None:
    """The end of a process that is not a child of ours."""
    with suppress(psutil.NoSuchProcess):
        while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(0.01)
