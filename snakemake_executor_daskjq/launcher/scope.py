"""How far it reaches that a fork server refuses a job."""

from __future__ import annotations

from enum import StrEnum


class Scope(StrEnum):
    """What it holds for that a fork server refuses a job."""

    JOB = "job"
    """This job; the fork server goes on with others."""

    PARSE = "parse"
    """What the fork server has parsed: another parse may do."""

    NOW = "now"
    """The context, as things are: it may be tried again."""

    CONTEXT = "context"
    """The context, for the rest of the run."""
