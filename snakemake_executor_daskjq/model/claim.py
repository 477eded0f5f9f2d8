"""What a job is, whichever run submits it: for runs that follow on one whose Snakemake has died."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Claim:
    """What a run says of a job of its own, whose key is that of the job which an earlier run has marked as begun.

    Attributes
    ----------
    mark : a digest of all that the job does; two jobs with the same are the same job.
    outputs : its output files, as absolute paths.
    logs : its log and benchmark files, likewise.
    """

    mark: str
    outputs: tuple[str, ...]
    logs: tuple[str, ...] = ()

    @property
    def writes(self) -> tuple[str, ...]:
        """All that it writes."""
        return self.outputs + self.logs
