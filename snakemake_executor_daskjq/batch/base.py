"""Stub, replaced by the batch branch."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ListedState(StrEnum):
    QUEUED = "queued"
    HELD = "held"
    BROKEN = "broken"
    RUNNING = "running"
    ENDING = "ending"


@dataclass(frozen=True, slots=True)
class Listed:
    state: ListedState
    words: str = ""


class Cause(StrEnum):
    UNKNOWN = "unknown"
    NO_FAULT = "no fault"
    CRASH = "crash"


@dataclass(frozen=True, slots=True)
class Ended:
    words: str
    cause: Cause
