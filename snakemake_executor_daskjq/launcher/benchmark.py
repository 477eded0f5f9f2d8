"""A direct start that is measured: `snakemake.benchmark` in the job's own process, around its command.

Imports Snakemake's module of that name, and so only launchers of such jobs import this one.
"""

from __future__ import annotations

import json
import os
import subprocess
from types import NoneType
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

from snakemake.benchmark import BenchmarkRecord, benchmarked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PLAIN = (bool, int, float, str, NoneType)


def run(argvs: Sequence[Sequence[str]], environment: Mapping[str, str], records: BinaryIO) -> NoReturn:
    """Run commands one after the other, write what each has used to `records`, and end as the last one did.

    As a JSON object: the job's `tmpdir`, and `records` with the fields of `snakemake.benchmark.BenchmarkRecord`.
    """
    measured = []
    for argv in argvs:
        record = BenchmarkRecord()
        process = subprocess.Popen(argv, env=environment)
        with benchmarked(process.pid, record):
            status = process.wait()
        if status != 0:
            os._exit(status if status > 0 else 128 - status)  # as a shell tells a signal
        measured.append(fields(record))
    told = {"tmpdir": environment.get("TMPDIR", ""), "records": measured}
    records.write(json.dumps(told).encode("ascii"))
    records.flush()
    os._exit(0)


def fields(record: Any) -> dict[str, Any]:
    """What a record has measured, without the processes that it has seen, and the job, which it does not know."""
    return {name: value for name, value in vars(record).items() if type(value) in PLAIN}
