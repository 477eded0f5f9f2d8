"""Jobs that an earlier run has left: which they are, by Snakemake's marks of incomplete outputs, and what a job does.

Written for Snakemake 9.6 to 9.27. A mark has the job's id at its executor (`external_jobid`), where that gave one. What
is not as expected lets jobs start anew, after the ones that run have been ended.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import uuid
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

from ..model.claim import Claim

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from ..model.request import Launch

PREFIX = "daskjq"


class Earlier(NamedTuple):
    """A job of an earlier run: the run's name, its key there, and Snakemake's attempt."""

    run: str
    key: str
    attempt: int


def external_jobid(run: str, key: str) -> str:
    """What Snakemake is to write into the marks of a job's outputs.

    >>> external_jobid("20261129-080000", "align-7-2@3")
    'daskjq/20261129-080000/align-7-2@3'
    """
    return f"{PREFIX}/{run}/{key}"


def read_jobid(text: str) -> Earlier | None:
    """
    >>> read_jobid("daskjq/20261129-080000/align-7-2@3")
    Earlier(run='20261129-080000', key='align-7-2@3', attempt=2)
    >>> read_jobid("4711"), read_jobid("daskjq/x/y")
    (None, None)
    """
    parts = text.split("/", 2)
    if len(parts) != 3 or parts[0] != PREFIX:
        return None
    attempt = parts[2].partition("@")[0].rpartition("-")[2]
    return Earlier(parts[1], parts[2], int(attempt)) if attempt.isdecimal() else None


def earlier(persistence: Any, job: Any) -> Earlier | None:
    """The job by which the outputs of this one are marked; None for none, or for several."""
    try:
        found = set(persistence.external_jobids(job))
    except (AttributeError, TypeError):
        return None
    return read_jobid(str(found.pop())) if len(found) == 1 else None


def claim(persistence: Any, job: Any, launch: Launch, scripts: Iterable[str]) -> Claim:
    """What a job is for runs to come. `scripts` are files of its own in its command, whose names are chance.

    Its amounts are no part of it, nor its time: a job that runs keeps what it has.
    """
    members = list(job.jobs) if job.is_group() else [job]
    # A command line for Snakemake names files that may be removed after the job, and a group's id: these may differ.
    parts = [launch.common_argv] if launch.command is None else [launch.command.argvs, launch.command.cwd]
    text = json.dumps(parts)
    for path in scripts:
        text = text.replace(json.dumps(path)[1:-1], hashlib.sha256(_read(path)).hexdigest())
    described = sorted(repr(_described(persistence, one)) for one in members)
    digest = hashlib.sha256(json.dumps([text, described]).encode())
    logs = [file for one in members for file in (*one.log, *([one.benchmark] if one.benchmark else ()))]
    return Claim(
        digest.hexdigest(),
        tuple(os.path.abspath(file) for one in members for file in one.output),
        tuple(map(os.path.abspath, logs)),
    )


def _described(persistence: Any, job: Any) -> list[Any]:
    """What Snakemake itself compares to tell whether a job has changed."""
    own = [job.rule.name, list(job.output), list(job.log), hashlib.sha256(_source(job.rule)).hexdigest()]
    try:
        return [*own, persistence._code(job.rule), persistence._input(job), persistence._params(job)]
    except AttributeError:  # another version: like nothing else, so it runs anew
        return [uuid.uuid4()]


def _source(rule: Any) -> bytes:
    """The text of a rule's script or notebook, where that is a file here."""
    with contextlib.suppress(Exception):  # whatever it is: an address, a wildcard
        path = rule.basedir.join(rule.script or rule.notebook).get_path_or_uri()
        return _read(path)
    return b""


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def let_resume(runs: Callable[[], Path]) -> None:
    """Have Snakemake hand over jobs whose outputs are incomplete while a controller may know of them.

    Snakemake would refuse to begin, as with any other incomplete output. `runs` tells the folder of runs, once that is
    asked for.
    """
    try:
        from snakemake.dag import DAG

        incomplete_files = DAG.incomplete_files
    except (ImportError, AttributeError):  # then --rerun-incomplete does the same
        return

    async def incomplete_but_ours(dag: Any) -> list[Any]:
        found = list(await incomplete_files(dag))
        from ..controller.door import is_open

        if not found or not is_open(runs()):
            return found
        persistence = dag.workflow.persistence
        ours = [file for file in found if earlier(persistence, SimpleNamespace(output=[file])) is not None]
        dag.forcefiles.update(ours)
        return [file for file in found if file not in ours]

    DAG.incomplete_files = incomplete_but_ours
