"""When pilots may be started again after a failure."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 60.0
GIVE_UP_AFTER = 6
"""Failed starts one after the other, about half a minute of waiting in all."""

PAUSE_S = 600.0
LONGEST_PAUSE_S = 3600.0
PAUSES = 12
"""A pool whose pilots have worked pauses instead, ten minutes at first and an hour at most: a site's trouble may be
over in the morning. Its pauses are about ten hours in all."""

HOPELESS = (
    # What no second try mends; the words are sbatch's, qsub's, bsub's, oarsub's and condor_submit's.
    "invalid partition",
    "invalid account",
    "invalid qos",
    "unknown queue",
    "no such queue",
    "job rejected",
    "requested node configuration is not available",
    "memory specification can not be satisfied",
    "requested time limit is invalid",
    "more processors requested than permitted",
    "unrecognized option",
    "invalid directive",
    "directive error",
    "unknown resource",
    "invalid option argument",
    "unknown option",
    "illegal -",
    "cannot be used with",
    # The submit command is another system's: it told the job's id in its own way.
    "it said: your job ",
    "it said: job <",
    "it said: submitted batch job ",
    "no such file or directory",
    "command not found",
    "permission denied",
)

FULL = (
    # The queue takes no more of this user's jobs for now: theirs in it have to end first. The words are those of
    # Slurm's limits (resource_limits(5)), and of qsub, bsub and oarsub.
    "submitjob",
    "would exceed",
    "maximum number of jobs",
    "jobs are allowed per user",
    "too many jobs",
    "job limit",
    "pending job threshold",
    "temporarily unable to accept job",
)


@dataclass(frozen=True, slots=True)
class Starts:
    """How starting the pilots of one pool has gone.

    Attributes
    ----------
    failures : failed starts since the last pilot that connected.
    not_before : seconds since the epoch before which none is requested.
    words : what the batch system said last.
    hopeless : its words say that no further try can succeed.
    full : its words say that the queue takes no more for now.
    waits : tries in a row that found it so.
    has_worked : a pilot of the pool has connected in this run.
    """

    failures: int = 0
    not_before: float = 0.0
    words: str = ""
    hopeless: bool = False
    full: bool = False
    waits: int = 0
    has_worked: bool = False

    def failed(self, words: str, now: float, jitter: float = 0.0) -> Starts:
        """After a failed start: back off, twice as long each time, and up to a quarter more by `jitter` (0 to 1).

        A full queue is no failure: it is tried again for as long as it takes. A pool that has worked pauses, where
        another is given up.

        >>> Starts().failed("Socket timed out", now=100.0).not_before
        101.0
        >>> Starts(failures=3, not_before=50.0).failed("Socket timed out", now=100.0).not_before
        108.0
        >>> starts = Starts().failed("sbatch: error: QOSMaxSubmitJobPerUserLimit", now=100.0)
        >>> starts.full, starts.failures, starts.not_before
        (True, 0, 101.0)
        """
        # Pilots that were requested together fail together; that is one failure, not many.
        if now < self.not_before:
            return self
        tries = self.failures + self.waits
        delay_s = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** min(tries, 10))
        told = words.lower()
        full = any(phrase in told for phrase in FULL)
        failures = self.failures + (not full)
        if self.has_worked and not full and failures >= GIVE_UP_AFTER:
            delay_s = min(LONGEST_PAUSE_S, PAUSE_S * 2 ** min(failures - GIVE_UP_AFTER, 10))
        return Starts(
            failures=failures,
            not_before=now + delay_s * (1 + jitter / 4),
            words=words,
            hopeless=not full and any(phrase in told for phrase in HOPELESS),
            full=full,
            waits=self.waits + full,
            has_worked=self.has_worked,
        )

    @property
    def given_up(self) -> bool:
        return self.hopeless or self.failures >= GIVE_UP_AFTER + (PAUSES if self.has_worked else 0)

    @property
    def pauses(self) -> bool:
        """True if the next try is a long while away."""
        return self.has_worked and not self.given_up and self.failures >= GIVE_UP_AFTER
