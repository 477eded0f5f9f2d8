"""How a job's targets are written on a command line of Snakemake's, so that it reads what was meant.

Snakemake cuts the wildcards of `--target-jobs RULE:NAME=VALUE,NAME=VALUE` at each comma, whatever is quoted, and takes
all quotes off both ends of a value (`parse_target_jobs_cli_args`, the same from 9.6 to 9.27). So some values can't be
written at all, and one like `c,d=e` would be another job. The interface's `encode_target_jobs_cli_args` puts quotes
around a value with a comma, which helps nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_QUOTES = "'\""


class TargetSpec(Protocol):
    """What Snakemake's own `TargetSpec` has."""

    @property
    def rulename(self) -> str: ...

    @property
    def wildcards_dict(self) -> Mapping[str, object]: ...


def encode_target_jobs(specs: Iterable[TargetSpec]) -> list[str]:
    """The values of `--target-jobs`. Raises ValueError where Snakemake would read something else.

    >>> from types import SimpleNamespace as Spec
    >>> encode_target_jobs([Spec(rulename="a", wildcards_dict={"x": "1=2", "y": ""})])
    ['a:x=1=2,y=']
    >>> encode_target_jobs([Spec(rulename="a", wildcards_dict={"x": "c,d=e"})])
    Traceback (most recent call last):
    ...
    ValueError: rule a: Snakemake has no way to pass the value 'c,d=e' of wildcard x to a job: it has a comma
    """
    return [
        _encoded(spec.rulename, {name: str(value) for name, value in spec.wildcards_dict.items()}) for spec in specs
    ]


def _encoded(rule: str, wildcards: Mapping[str, str]) -> str:
    entry = f"{rule}:" + ",".join(f"{name}={value}" for name, value in wildcards.items())
    if _as_snakemake_reads(entry) == (rule, wildcards):
        return entry
    for name, value in wildcards.items():
        if why := _unspeakable(value):
            raise ValueError(
                f"rule {rule}: Snakemake has no way to pass the value {value!r} of wildcard {name} to a job: {why}"
            )
    raise ValueError(f"rule {rule}: Snakemake has no way to pass its wildcards {dict(wildcards)!r} to a job")


def _unspeakable(value: str) -> str:
    if "," in value:
        return "it has a comma"
    return "it has a quote at an end" if value != value.strip(_QUOTES) else ""


def _as_snakemake_reads(entry: str) -> tuple[str, dict[str, str]] | None:
    """What `parse_target_jobs_cli_args` makes of an entry; None where it raises an error."""
    rule, _, wildcards = entry.partition(":")
    if not wildcards:
        return rule, {}
    pairs = [part.partition("=") for part in wildcards.split(",")]
    if not all(separator for _, separator, _ in pairs):
        return None
    return rule, {name: value.strip(_QUOTES) for name, _, value in pairs}
