"""How far it reaches that a warm host refuses a job."""

from __future__ import annotations

from enum import StrEnum


class Scope(StrEnum):
    """What it holds for that a warm host refuses a job."""

    JOB = "job"
    """This job; the host goes on with others."""

    PARSE = "parse"
    """What the host has parsed: another parse may do."""

    NOW = "now"
    """The context, as things are: it may be tried again."""

    CONTEXT = "context"
    """The context, for the rest of the run."""
