"""The states of a pilot and what changes them: for the run that has it, and for whoever reads the run's journal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..model.pool import COMING, PilotState

if TYPE_CHECKING:
    from ..model.pool import Pool


@dataclass(slots=True)
class PilotLife:
    """One pilot. Its state goes forward only (`PilotState`); what comes too late changes nothing.

    `words` say why it waits in the queue, could not be started or has ended. `retry_at` is when another is requested
    after this one could not be started, 0 for never. Times are seconds since the epoch, 0 for not yet.
    """

    name: str
    pool: Pool
    requested_at: float
    state: PilotState = PilotState.REQUESTED
    batch_id: str = ""
    host: str = ""
    connected_at: float = 0.0
    lost_at: float = 0.0
    words: str = ""
    retry_at: float = 0.0

    @property
    def is_coming(self) -> bool:
        return self.state in COMING

    @property
    def is_running(self) -> bool:
        return self.state is PilotState.RUNNING

    @property
    def ends_at(self) -> float | None:
        """When its walltime is over; None where it has none, or has not connected."""
        walltime_s = self.pool.walltime_s
        return self.connected_at + walltime_s if self.connected_at and walltime_s is not None else None

    def submitted(self, batch_id: str) -> None:
        self.batch_id = batch_id
        if self.state is PilotState.REQUESTED:
            self.state = PilotState.PENDING

    def waits(self, words: str) -> None:
        if self.is_coming:
            self.words = words

    def connected(self, host: str, now: float) -> bool:
        """False where it is not expected any more."""
        if not self.is_coming:
            return False
        self.state, self.host, self.connected_at, self.words = PilotState.RUNNING, host, now, ""
        return True

    def start_failed(self, words: str, retry_at: float) -> bool:
        """False where it has connected, or was told to end before."""
        if not self.is_coming:
            return False
        self.state, self.words, self.retry_at = PilotState.LOST, words, retry_at
        return True

    def lost(self, now: float) -> bool:
        """False where it was not running."""
        if not self.is_running:
            return False
        self.state, self.lost_at = PilotState.LOST, now
        return True

    def went(self, words: str) -> None:
        """Nothing of a lost one runs any more."""
        self.words = words

    def ended(self, why: str) -> bool:
        """It is told to end. False where it has ended already."""
        if not (self.is_coming or self.is_running):
            return False
        self.state, self.words = PilotState.ENDED, why
        return True
