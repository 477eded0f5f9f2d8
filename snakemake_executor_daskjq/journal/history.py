"""What the rules of a workflow have used in earlier runs: `history.json` beside the runs' folders.

Several runs may end at the same time: each adds what it has learned under a lock and replaces the file whole.
A file that is missing, damaged or of another schema is an empty history, never an error.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from ..model.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

SCHEMA = 1

MOST_RULES = 1000
"""Beyond that the rules that have not run for longest are forgotten."""


class History:
    """Earlier runs' usage by rule (`rules`), and what this run adds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.rules: Mapping[str, Usage] = _read(path)
        self._learned: dict[str, Usage] = {}

    def learn(self, rule: str, usage: Usage) -> None:
        known = self._learned.get(rule)
        self._learned[rule] = usage if known is None else known.and_(usage)

    def save(self) -> None:
        """Add what was learned to the file. Raises OSError where the folder can't be written."""
        if not self._learned:
            return
        with _locked(self._path.with_suffix(".lock")):
            rules = dict(_read(self._path))
            for rule, usage in self._learned.items():
                rules[rule] = rules[rule].and_(usage) if rule in rules else usage
            newest = sorted(rules, key=lambda rule: rules[rule].seen, reverse=True)[:MOST_RULES]
            text = json.dumps({"schema": SCHEMA, "rules": {rule: asdict(rules[rule]) for rule in sorted(newest)}})
            draft = self._path.with_suffix(f".{os.getpid()}.tmp")
            draft.write_text(text)
            draft.replace(self._path)
        self._learned.clear()


def _read(path: Path) -> dict[str, Usage]:
    try:
        found = json.loads(path.read_text())
        if found["schema"] != SCHEMA:
            return {}
        return {str(rule): _usage(fields) for rule, fields in found["rules"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _usage(fields: Mapping[str, float]) -> Usage:
    usage = Usage(
        int(fields["jobs"]),
        float(fields["wall_s"]),
        float(fields["cpu_s"]),
        float(fields["peak_mem_mb"]),
        min(float(fields["seen"]), time.time()),
    )
    if usage.jobs < 1 or not all(0 <= value < 1e12 for value in asdict(usage).values()):
        raise ValueError(f"no usage: {fields}")
    return usage


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        with contextlib.suppress(OSError):  # a file system without locks: the last run's word stands
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
