"""What the Dask clusters of rules have used (`rules.client`), beside what they had."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from .table import laid_out

if TYPE_CHECKING:
    from .run import Run

HEAD = ("Dask clusters of", "clusters", "workers", "threads", "MB", "peak MB", "tasks", "spilled MB")


def dask_table(run: Run) -> str:
    """One row a rule and shape of workers, as plain text; "" where no rule had a cluster of its own.

    `workers`, their `threads` and memory (`MB`) are those of one cluster; `peak MB` is that of its largest worker at
    any time. `tasks` and `spilled MB`, written to disk, are in the mean of a cluster.
    """
    clusters: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for end in run.ends:
        for one in _clusters(end.get("dask", "")):
            key = (run.jobs[end["key"]].request.rule, *(one.get(name) for name in ("workers", "threads", "memory_mb")))
            clusters[key].append(one)
    rows = [
        (
            rule,
            str(len(ones)),
            *("-" if own is None else str(own) for own in own),
            str(max(one["peak_mb"] for one in ones)),
            *(f"{sum(one[name] for one in ones) / len(ones):.0f}" for name in ("tasks", "spilled_mb")),
        )
        for (rule, *own), ones in sorted(clusters.items(), key=str)
    ]
    return laid_out([HEAD, *rows]) if rows else ""


_FIELDS: dict[str, Any] = {
    **dict.fromkeys(("workers", "threads", "tasks", "spilled_mb", "peak_mb"), int),
    "memory_mb": int | None,
}


def _clusters(lines: str) -> list[dict[str, Any]]:
    """What a job has left; whatever is not as expected was written by something else."""
    found = []
    for line in lines.splitlines():
        try:
            one = json.loads(line)
        except ValueError:
            continue
        if isinstance(one, dict) and all(isinstance(one.get(name), kind) for name, kind in _FIELDS.items()):
            found.append(one)
    return found
