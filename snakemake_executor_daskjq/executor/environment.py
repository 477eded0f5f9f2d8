"""What a Snakefile has changed in the environment: a job on another machine has to see it, too.

A job that is a Snakemake of its own parses the Snakefile again, which sets the same. One that is only a command does
not: it gets the difference between the variables that this process began with and those of its command.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

AT_START = dict(os.environ)
"""Snakemake's registry imports this package before it reads a Snakefile."""

THREADS = (
    *("OMP_NUM_THREADS", "GOTO_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"),
    "NUMEXPR_NUM_THREADS",
)
"""What `snakemake.shell` sets to the job's threads. A batch system may have set them to a pilot's."""

FOLDERS = ("TMPDIR", "TMP", "TEMPDIR", "TEMP")
"""What `snakemake.shell` sets to the job's `tmpdir`."""


def changes(
    environment: Mapping[str, str], before: Mapping[str, str], always: tuple[str, ...] = ()
) -> tuple[dict[str, str], tuple[str, ...]]:
    """The variables that differ from `before`, and those that are there no more; those of `always` in any case.

    >>> changes({"A": "1", "B": "3", "C": "4"}, {"A": "1", "B": "2", "D": "5"}, always=("A", "E"))
    ({'A': '1', 'B': '3', 'C': '4'}, ('D',))
    """
    changed = {name: str(value) for name, value in environment.items() if name in always or before.get(name) != value}
    return changed, tuple(name for name in before if name not in environment)
