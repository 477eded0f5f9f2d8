"""How a pilot keeps its lease (see `lease`): questions to the scheduler, each with a time limit."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from .lease import uptime_s

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

RENEWALS = 6
"""So often the scheduler is asked within one lease: some of the questions may get lost."""

logger = logging.getLogger("distributed.worker")


async def keep_renewing(
    length_s: float, ask: Callable[[], Coroutine[None, None, bool]], renew: Callable[[float], None]
) -> None:
    """Ask for a renewal `RENEWALS` times within a lease, and call `renew` with the time of each question granted.

    A question without an answer is given up when the next one is due. Nothing that `ask` raises ends this.
    """
    every_s = length_s / RENEWALS
    questions: set[asyncio.Task[bool]] = set()  # also those given up: asyncio itself holds none of its tasks
    while True:
        asked_at = uptime_s()
        question = asyncio.create_task(ask())
        questions.add(question)
        question.add_done_callback(questions.discard)
        # Not `asyncio.timeout`: it waits until the cancelled question has ended, which on a broken connection takes
        # as long as the network likes.
        await asyncio.wait([question], timeout=every_s)
        if why := _why_not(question):
            logger.warning("The lease was not renewed: %s", why)
            question.cancel()
        else:
            renew(asked_at)
        await asyncio.sleep(max(0.0, asked_at + every_s - uptime_s()))


def _why_not(question: asyncio.Task[bool]) -> str:
    """Why the answer to a question renews nothing; "" where it does."""
    if not question.done():
        return "the scheduler did not answer in time"
    if question.cancelled():
        return "the question was cancelled"
    if error := question.exception():
        return f"{type(error).__name__}: {error}"
    return "" if question.result() else "the scheduler does not know this pilot any more"
