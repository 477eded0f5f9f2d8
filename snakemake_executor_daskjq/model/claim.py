"""What a job is, whichever run submits it: for runs that follow on one whose Snakemake has died.

Runs know the same job by its outputs; one without any by a name that holds its working directory, Snakefile and rule,
which has no wildcards then, and no other job.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Claim:
    """What a run says of a job of its own.

    Attributes
    ----------
    mark : a digest of all that the job does; two jobs with the same are the same job.
    outputs : its output files, as absolute paths.
    logs : its log and benchmark files, likewise.
    name : what it is known by where it has no outputs.
    """

    mark: str
    outputs: tuple[str, ...]
    logs: tuple[str, ...] = ()
    name: str = ""

    @property
    def writes(self) -> tuple[str, ...]:
        """All that it writes."""
        return self.outputs + self.logs


class LeftJob(NamedTuple):
    """A job that a killed Snakemake has left, as later runs see it.

    Attributes
    ----------
    run : the name of its run.
    key : its key there.
    attempt : Snakemake's.
    has_ended : it runs no more, and how it has ended is known.
    """

    run: str
    key: str
    attempt: int
    has_ended: bool
