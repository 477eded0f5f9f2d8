"""What a workflow would ask for: Snakemake's own start with its own options, stopped before anything is executed.

Reaches into Snakemake (`Workflow.execute` and the two steps that it begins with), written for 9.27.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn

from . import mapping
from .errors import DaskjqError, shown
from .migration import translate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .model.pool import Pool
    from .settings import ExecutorSettings


@dataclass(frozen=True, slots=True)
class Asked:
    """What jobs of a rule ask for; jobs that ask for the same are one."""

    rule: str
    jobs: int
    resources: Mapping[str, object]
    local: bool


@dataclass(frozen=True, slots=True)
class Workflow:
    """A parsed workflow with the settings of its executor, as a run would have them."""

    settings: ExecutorSettings
    cores: int | None
    asked: tuple[Asked, ...]


class _Stopped(BaseException):
    """Not an Exception: Snakemake reports those."""


def parse(argv: Sequence[str]) -> Workflow:
    """What `snakemake ARGV` would run. Raises SystemExit where Snakemake ends with an error."""
    import snakemake.cli
    import snakemake.workflow

    found: list[Workflow] = []
    execute = snakemake.workflow.Workflow.execute

    def stop(workflow: Any, executor_plugin: Any, executor_settings: Any, *_: Any, **__: Any) -> NoReturn:
        workflow._executor_plugin = executor_plugin
        workflow._prepare_dag(forceall=False, ignore_incomplete=True, lock_warn_only=True)
        workflow._build_dag()
        asked = tuple(_asked(workflow.dag.jobs))
        found.append(Workflow(executor_settings, workflow.resource_settings.cores, asked))
        raise _Stopped

    snakemake.workflow.Workflow.execute = stop
    try:
        snakemake.cli.main(["--executor", "daskjq", "--jobs", "1", "--quiet", "all", *argv])
    except _Stopped:
        return found[0]
    finally:
        snakemake.workflow.Workflow.execute = execute
    raise SystemExit(1)  # Snakemake has nothing to execute with these options


def _asked(jobs: Iterable[Any]) -> list[Asked]:
    kinds: dict[str, Asked] = {}
    counts: Counter[str] = Counter()
    for job in jobs:
        asked = Asked(job.rule.name, 1, dict(job.resources.items()), bool(job.is_local))
        counts[key := repr(asked)] += 1
        kinds[key] = asked
    return sorted((replace(asked, jobs=counts[key]) for key, asked in kinds.items()), key=lambda asked: asked.rule)


def placement(asked: Asked, pools: Sequence[Pool]) -> tuple[str, bool]:
    """Where these jobs may run and why not elsewhere, in words; False where they can run nowhere."""
    if asked.local:
        return "runs beside Snakemake (localrules)", True
    own = translate(asked.resources, pools)
    try:
        request = mapping.request_of(own.resources, pools, rule=asked.rule)
    except DaskjqError as error:
        return f"runs nowhere. {error}", False
    wanted = ", ".join(shown(name, amount) for name, amount in request.amounts.items())
    if request.runtime_s is not None:
        wanted += f", runtime={request.runtime_s // 60} min"
    reasons = {pool.name: mapping.ruled_out(request, pool) for pool in pools}
    fitting = ", ".join(name for name, reason in reasons.items() if not reason)
    others = "; ".join(f"not {name}: {reason}" for name, reason in reasons.items() if reason)
    return f"{wanted}: runs in {fitting}" + (f" ({others})" if others else ""), True
