"""What a run has before it, from Snakemake's DAG, which is beyond its interface for executors."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from ..model.request import Outlook

if TYPE_CHECKING:
    from collections.abc import Callable


def look_ahead(dag: Any, warn: Callable[[str], None]) -> Outlook:
    """What the run has before it; where this Snakemake's DAG can't be read, nothing is known, and `warn` is told so.

    A run goes on without: pilots that have nothing to do then end a little later, for more work may come.
    """
    try:
        return remaining_work(dag)
    except Exception as error:  # of any kind: these are another program's insides
        warn(
            "what the workflow has before it can't be read from this Snakemake "
            f"({type(error).__name__}: {error}); idle pilots are kept for --daskjq-idle-timeout."
        )
        return Outlook({}, {}, is_open_ended=True)


def remaining_work(dag: Any) -> Outlook:
    """One walk over the DAG, at the start only: it may have 100,000 jobs. A group is one job."""
    names: dict[int, str] = {}  # of groups Snakemake puts them together at each call
    jobs: Counter[str] = Counter()
    follows: defaultdict[str, set[str]] = defaultdict(set)
    is_open_ended = False

    def name_of(job: Any) -> str:
        unit = dag.get_job_group(job) if job.group else None
        if unit is None:
            unit = job
        if id(unit) not in names:
            names[id(unit)] = unit.name
            if not unit.is_local:
                jobs[unit.name] += 1
        return names[id(unit)]

    for job in dag.needrun_jobs():
        name = name_of(job)
        is_open_ended = is_open_ended or job.is_checkpoint
        for earlier in dag.dependencies[job]:
            if dag.needrun(earlier) and (earlier_name := name_of(earlier)) != name:
                follows[earlier_name].add(name)
    return Outlook(dict(jobs), {name: frozenset(after) for name, after in follows.items()}, is_open_ended)
