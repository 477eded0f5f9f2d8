"""Await what has no event of its own."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


async def appears(path: Path) -> str:
    """What is in a file, once something is."""
    await until(lambda: path.exists() and path.read_text().strip())
    return path.read_text().strip()


async def gone(pid: int) -> None:
    """The end of a process that is not a child of ours."""
    with suppress(psutil.NoSuchProcess):
        await until(lambda: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
