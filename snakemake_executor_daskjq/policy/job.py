"""A job as the controller core knows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .losses import Losses

if TYPE_CHECKING:
    from ..model.outcome import Outcome
    from ..model.request import Request


@dataclass(slots=True)
class Job:
    """A job from its submission to its report.

    `pilot` is the one that it is on, or was lost with and waits to be gone; "" while it waits for one. Nobody wants to
    hear of one that `is_unwanted`: its run has ended.
    """

    request: Request
    tries: int = 0
    losses: Losses = field(default_factory=Losses)
    placed_at: float = 0.0
    pilot: str = ""
    lost: Outcome | None = None
    is_unwanted: bool = False
