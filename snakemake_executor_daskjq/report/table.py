"""What each rule used, beside what it asked for."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .run import Run

HEAD = ("rule", "jobs", "failed", "wall mean s", "wall max s", "runtime s", "CPU", "peak MB", "mem_mb", "tries lost")


def table(run: Run) -> str:
    """One row a rule, as plain text. `CPU` is the used share of the cores that its jobs held."""
    ends: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for end in run.ends:
        ends[run.jobs[end["key"]].request.rule].append(end)
    return laid_out([HEAD, *(_row(run, rule, ends[rule]) for rule in sorted(ends))])


def laid_out(rows: Sequence[Sequence[str]]) -> str:
    """Rows in columns: the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        row[0].ljust(widths[0])
        + "".join(f"  {cell.rjust(width)}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in rows
    )


def _row(run: Run, rule: str, ends: list[dict[str, Any]]) -> tuple[str, ...]:
    requests = [run.jobs[end["key"]].request for end in ends]
    reported = [end for end in ends if end["reported"]]
    walls_s = [end["ended_at"] - end["started_at"] for end in reported] or [0.0]
    held_s = sum(
        request.amounts["cores"] * (end["ended_at"] - end["started_at"])
        for request, end in zip(requests, ends, strict=True)
    )
    cpu_s = sum(end["cpu_s"] for end in ends)
    runtimes_s = [request.runtime_s for request in requests if request.runtime_s is not None]
    asked_mb = max((request.amounts.get("mem_mb", 0) for request in requests), default=0)
    return (
        rule,
        str(len(reported)),
        str(sum(end["end"] != "succeeded" for end in reported)),
        f"{sum(walls_s) / len(walls_s):.1f}",
        f"{max(walls_s):.1f}",
        str(max(runtimes_s)) if runtimes_s else "-",
        f"{100 * cpu_s / held_s:.0f} %" if held_s else "-",
        f"{max(end['peak_mem_mb'] for end in ends):.0f}",
        str(asked_mb or "-"),
        str(len(ends) - len(reported)),
    )
