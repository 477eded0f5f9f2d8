"""`snakemake --scheduler daskjq`: takes every ready job that fits, in a time that grows with their number.

Snakemake's own schedulers look at all jobs again for each one that they take, or solve an integer program: with
thousands of ready jobs and `--jobs N` they become what a run waits for. Which jobs run together is for the executor
to choose; here it is only how many it may have, and which ones first.

The registry of plugins imports this package at each start of Snakemake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from snakemake_interface_scheduler_plugins.base import SchedulerBase

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Scheduler"]


class Scheduler(SchedulerBase):  # type: ignore[misc]
    def select_jobs(
        self,
        selectable_jobs: Iterable[Any],
        remaining_jobs: Sequence[Any],
        available_resources: Mapping[str, int],
        input_sizes: Mapping[Any, int | None],
    ) -> list[Any]:
        """As Snakemake's greedy scheduler ranks jobs: by priority, then by the temporary files that they make
        removable, then by the size of their inputs; in that order, whatever still fits is taken.
        """
        left = {name: amount for name, amount in available_resources.items() if isinstance(amount, int)}
        taken = []
        for job in sorted(selectable_jobs, key=lambda job: _reward(job, input_sizes), reverse=True):
            wanted = job.scheduler_resources
            amounts = {name: wanted[name] for name in left.keys() & wanted.keys()}
            if all(amount <= left[name] for name, amount in amounts.items()):
                taken.append(job)
                for name, amount in amounts.items():
                    left[name] -= amount
        return taken


def _reward(job: Any, input_sizes: Mapping[Any, int | None]) -> tuple[int, int, int]:
    sizes = [(file, input_sizes.get(file) or 0) for file in job.input]
    return job.priority, sum(size for file, size in sizes if file.is_flagged("temp")), sum(size for _, size in sizes)
