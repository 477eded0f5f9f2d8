"""Jobs of one run that are sent to a pilot before there is room: where they take less than a message takes to come.

Nothing is promised twice: Dask's worker holds such a job back by its resources until one that runs has ended, and as
all are alike, whichever ends makes room for exactly one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .estimates import SURPRISE_S
from .placement import may_start_ahead

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..model.request import Request
    from .queue import ReadyQueue
    from .rooms import Room
    from .runs import Runs


def look_ahead(
    requests: Sequence[Request],
    running: Sequence[float],
    room: Room | None,
    ahead: int,
    ready: ReadyQueue,
    runs: Runs,
    held: Mapping[int, int],
    now: float,
) -> list[Request]:
    """The jobs, taken out of `ready`, to send to a pilot beside those that are there: if all are short and alike.

    Parameters
    ----------
    requests : all that are at the pilot.
    running : when those of them that run were placed, seconds since the epoch; `ahead` others are there.
    room : None where the pilot is going.
    held : the cores that each run has.
    """
    most = min((runs.ahead_of(*kind) for kind in {(request.run, request.rule) for request in requests}), default=0)
    if most == 0 or room is None:
        return []
    like = requests[0]
    if any((request.run, request.shape) != (like.run, like.shape) for request in requests):
        return []
    # What has run for long may go on, and has none wait behind it.
    most *= sum(now - placed_at < SURPRISE_S for placed_at in running)
    if ahead > most // 2:
        return []  # a few at a time cost less than each alone
    taken: list[Request] = []
    while ahead + len(taken) < most and may_start_ahead(like, room, ready, held, now):
        if room.misfits(like, now, amounts=room.capacity) or (request := ready.take_like(like)) is None:
            break
        taken.append(request)
    return taken
