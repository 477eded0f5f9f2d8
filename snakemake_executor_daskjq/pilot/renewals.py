"""How a pilot keeps its lease (see `lease`): questions to the scheduler, each with a time limit."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from ..launcher.lease import uptime_s

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

RENEWALS = 6
"""So often the scheduler is asked within one lease: some of the questions may get lost, or stuck in a connection."""

logger = logging.getLogger("distributed.worker")


async def keep_renewing(
    length_s: float, ask: Callable[[], Coroutine[None, None, bool]], renew: Callable[[float], None]
) -> None:
    """Ask for a renewal `RENEWALS` times within a lease, and call `renew` with the time of each question granted.

    Each question goes its own way: one that is held up does not hold up the next, and its answer still counts, from
    the time at which it was asked. After a whole lease an answer is of no use any more, and is given up. Nothing that
    `ask` raises ends this.
    """
    questions: set[asyncio.Task[None]] = set()  # asyncio itself does not keep its tasks
    while True:
        question = asyncio.create_task(_ask_once(length_s, ask, renew))
        questions.add(question)
        question.add_done_callback(questions.discard)
        await asyncio.sleep(length_s / RENEWALS)


async def _ask_once(
    length_s: float, ask: Callable[[], Coroutine[None, None, bool]], renew: Callable[[float], None]
) -> None:
    asked_at = uptime_s()
    try:
        async with asyncio.timeout(length_s):
            granted = await ask()
    except Exception as error:  # of the network, of Dask, or of the scheduler: there is a next time
        logger.warning("The lease was not renewed: %s: %s", type(error).__name__, error)
        return
    if granted:
        renew(asked_at)
    else:
        logger.warning("The lease was not renewed: the scheduler does not know this pilot any more")
