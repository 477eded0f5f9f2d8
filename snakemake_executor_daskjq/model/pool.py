"""Pools (kinds of pilots) and the pilots themselves."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from .request import Amounts


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Pool:
    """One kind of pilot, and how many of them there may be.

    Attributes
    ----------
    name : how users and the journal call it.
    system : one of `batch.NAMES`, or `batch.EXTERNAL`.
    cores, mem_mb, walltime_s : of one pilot (MB of 10^6 bytes, seconds). None means "not stated by the
        user": the machine or the dask-jobqueue configuration tells (see `dask_cluster.offers.complete`).
    others : further consumable amounts of one pilot (`gpu`, `disk_mb`, custom names).
    nodes : how many nodes one pilot's allocation spans; cores and memory are of one of them.
    min_pilots, max_pilots : how many are kept while the workflow has work for them, and how many may exist at a time.
    max_queued : how many may wait in the batch queue at a time; None for no limit of its own.
    cost_per_hour : what one pilot costs in an hour, in a unit of the user's own; None counts its cores (`price`).
    idle_timeout_s : how long a pilot may have nothing to do.
    rules : patterns (as of `fnmatch`) of the rules that may use the pool; none for all.
    labels : what a job's `daskjq_labels` must all name for it to use the pool.
    queue, account, constraint : the batch system's words; None leaves its default.
    directives : further lines for the header of the job script.
    prologue : shell lines that run before the pilot.
    scratch_folder : folder on a pilot's host for Dask's files and jobs' `tmpdir`; None for the host's own.
    config_name : the section of the site's dask-jobqueue configuration, None for the system's own.
    """

    name: str
    system: str
    cores: int | None = None
    mem_mb: int | None = None
    walltime_s: int | None = None
    others: Amounts = field(default_factory=dict)
    nodes: int = 1
    min_pilots: int = 0
    max_pilots: int = 10
    max_queued: int | None = None
    cost_per_hour: float | None = None
    idle_timeout_s: float = 60.0
    rules: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    queue: str | None = None
    account: str | None = None
    constraint: str | None = None
    parallel_environment: str | None = None
    directives: tuple[str, ...] = ()
    prologue: tuple[str, ...] = ()
    scratch_folder: Path | None = None
    config_name: str | None = None

    @property
    def amounts(self) -> Amounts:
        """Everything one pilot offers, in the ledger's units; call it on a completed pool only.

        >>> Pool("gpu", "slurm", cores=8, mem_mb=60000, others={"gpu": 2}).amounts
        {'cores': 8, 'mem_mb': 60000, 'gpu_percent': 200}
        """
        if self.cores is None or self.mem_mb is None:
            raise ValueError(f"pool {self.name} is not complete")
        others = {name: amount for name, amount in self.others.items() if name != "gpu"}
        gpus = {"gpu_percent": 100 * self.others["gpu"]} if "gpu" in self.others else {}
        return {"cores": self.cores, "mem_mb": self.mem_mb, **gpus, **others}

    @property
    def all_cores(self) -> int:
        """The cores that one pilot holds on all its nodes, 0 where they are not known yet."""
        return (self.cores or 0) * self.nodes

    @property
    def price(self) -> float:
        """What one pilot costs in an hour; where the user states nothing, one for each core."""
        return float(self.all_cores) if self.cost_per_hour is None else self.cost_per_hour

    @property
    def slack_s(self) -> float:
        """How far a stated runtime may reach beyond a pilot's end.

        It is an upper bound, and without slack a job as long as the walltime would fit no pilot, for a little of it
        is always gone already.
        """
        return max(60.0, 0.05 * (self.walltime_s or 0))


def name_of(queue: str | None, system: str) -> str:
    """The name of a pool that is not named: its queue's, or the system's."""
    return queue if queue and _NAME.fullmatch(queue) else system


class PilotState(enum.StrEnum):
    """The life of a pilot. It goes down this list, and never back."""

    REQUESTED = "requested"  # the submit command has not answered yet
    PENDING = "pending"  # the batch system has it; its Dask worker has not connected
    RUNNING = "running"  # connected: jobs can be placed
    ENDED = "ended"  # told to end
    LOST = "lost"  # ended by itself, or never connected


COMING = (PilotState.REQUESTED, PilotState.PENDING)
"""Asked for, and not there yet."""
