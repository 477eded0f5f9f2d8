"""What a workflow would ask for: Snakemake's own start with its own options, stopped before anything is executed.

Reaches into Snakemake (`Workflow.execute` and the two steps that it begins with), written for 9.6 to 9.27.
"""

from __future__ import annotations

import inspect
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import DaskjqError, UnexpectedSnakemakeError, shown
from ..resources import mapping
from ..resources.migration import translate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..config.settings import ExecutorSettings
    from ..model.pool import Pool


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


_STEPS: Mapping[str, frozenset[str]] = {
    "execute": frozenset(("executor_plugin", "executor_settings")),
    "_prepare_dag": frozenset(("forceall", "ignore_incomplete", "lock_warn_only")),
    "_build_dag": frozenset(),
}
"""What is used of Snakemake's class of workflows: methods, and their parameters."""


def check(workflow_class: type) -> None:
    """Raises UnexpectedSnakemakeError where Snakemake's class of workflows lacks a step, or a parameter of one."""
    for name, parameters in _STEPS.items():
        step = getattr(workflow_class, name, None)
        if step is None:
            raise UnexpectedSnakemakeError(f"no Workflow.{name}")
        if missing := parameters - inspect.signature(step).parameters.keys():
            raise UnexpectedSnakemakeError(f"Workflow.{name} takes no {', '.join(sorted(missing))}")


def parse(argv: Sequence[str]) -> Workflow:
    """What `snakemake ARGV` would run.

    Raises SystemExit where Snakemake ends with an error, UnexpectedSnakemakeError where it is not as expected.
    """
    import snakemake.cli
    import snakemake.workflow

    check(snakemake.workflow.Workflow)
    found: list[Workflow | UnexpectedSnakemakeError] = []
    execute = snakemake.workflow.Workflow.execute

    def stop(workflow: Any, executor_plugin: Any, executor_settings: Any, *_: Any, **__: Any) -> NoReturn:
        workflow._executor_plugin = executor_plugin
        workflow._prepare_dag(forceall=False, ignore_incomplete=True, lock_warn_only=True)
        workflow._build_dag()
        try:
            asked = tuple(_asked(workflow.dag.jobs))
            found.append(Workflow(executor_settings, workflow.resource_settings.cores, asked))
        except AttributeError as error:  # Snakemake would report it as the workflow's
            found.append(UnexpectedSnakemakeError(str(error)))
        raise _Stopped

    snakemake.workflow.Workflow.execute = stop
    try:
        snakemake.cli.main(["--executor", "daskjq", "--jobs", "1", "--quiet", "all", *argv])
    except _Stopped:
        pass
    finally:
        snakemake.workflow.Workflow.execute = execute
    for workflow in found:
        if isinstance(workflow, Workflow):
            return workflow
        raise workflow
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
    if request.workers is not None:
        each = ", ".join(shown(name, amount) for name, amount in request.workers.amounts.items())
        wanted += f" and {request.workers.count} Dask workers of {each} each"
    reasons = {pool.name: mapping.ruled_out(request, pool) for pool in pools}
    fitting = ", ".join(name for name, reason in reasons.items() if not reason)
    others = "; ".join(f"not {name}: {reason}" for name, reason in reasons.items() if reason)
    return f"{wanted}: runs in {fitting}" + (f" ({others})" if others else ""), True
