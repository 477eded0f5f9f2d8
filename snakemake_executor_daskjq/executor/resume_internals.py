"""What a job is to later runs, and what Snakemake has to know of jobs that an earlier run has left.

Written for Snakemake 9.6 to 9.27. What is not as expected lets jobs start anew, once those that run have been ended.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import uuid
from typing import TYPE_CHECKING, Any

from ..model.claim import Claim

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from ..model.request import Launch


def names(persistence: Any, job: Any) -> list[str]:
    """By what runs know a job: see `claim`."""
    return _outputs(job) or [_name(persistence, job)]


def _name(persistence: Any, job: Any) -> str:
    return f"{job.name} of {persistence.dag.workflow.main_snakefile} in {os.getcwd()}"


def _outputs(job: Any) -> list[str]:
    return [os.path.abspath(file) for one in _members(job) for file in one.output]


def _members(job: Any) -> list[Any]:
    return list(job.jobs) if job.is_group() else [job]


def claim(persistence: Any, job: Any, launch: Launch, scripts: Iterable[str]) -> Claim:
    """What a job is for runs to come. `scripts` are files of its own in its command, whose names are chance.

    Its amounts are no part of it, nor its time: a job that runs keeps what it has.
    """
    members = _members(job)
    # A job's own arguments for Snakemake name files that may be removed after it, and a group's id: these may differ.
    # What was a set has no order.
    own = [sorted(launch.common_argv)] if launch.command is None else [launch.command.argvs, launch.command.cwd]
    text = json.dumps(own)
    copies = str(persistence.dag.workflow.sourcecache.runtime_cache_path)  # of sources: a name by chance
    for path in scripts:
        content = _read(path).replace(copies.encode(), b"")
        text = text.replace(json.dumps(path)[1:-1], hashlib.sha256(content).hexdigest())
    text = text.replace(json.dumps(copies)[1:-1], "")
    described = sorted(repr(_described(persistence, one)) for one in members)
    digest = hashlib.sha256(json.dumps([text, described, _inputs(members)]).encode())
    logs = [file for one in members for file in (*one.log, *([one.benchmark] if one.benchmark else ()))]
    outputs = tuple(_outputs(job))
    name = "" if outputs else _name(persistence, job)
    return Claim(digest.hexdigest(), outputs, tuple(map(os.path.abspath, logs)), name)


def _inputs(members: Iterable[Any]) -> list[Any]:
    """The files that are read and that no member writes, as they are now; None for what is not there, or not here."""
    members = list(members)
    written = {str(file) for one in members for file in one.output}
    files = {str(file) for one in members for file in one.input if not file.flags.get("ancient")} - written
    return [(file, _state(file)) for file in sorted(files)]


def _state(file: str) -> list[int] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return [found.st_mtime_ns, 0 if stat.S_ISDIR(found.st_mode) else found.st_size]


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
        path = rule.basedir.join(rule.script or rule.notebook).get_path_or_uri(secret_free=False)
        return _read(path)
    return b""


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def let_resume(folders: Callable[[], tuple[Path, Path]]) -> None:
    """Have Snakemake hand over jobs whose outputs are incomplete where a controller knows of them.

    Snakemake would refuse to begin, as with any other incomplete output. `folders` tells, once that is asked for, in
    which folder of runs controllers may be, and the run's log folder.
    """
    try:
        from snakemake.dag import DAG

        incomplete_files = DAG.incomplete_files
    except (ImportError, AttributeError):  # then --rerun-incomplete does the same
        return

    async def incomplete_but_left(dag: Any) -> list[Any]:
        found = list(await incomplete_files(dag))
        if not found:
            return found
        from .peers import left_jobs

        left = left_jobs(*folders())
        ours = [file for file in found if os.path.abspath(file) in left]
        dag.forcefiles.update(ours)
        return [file for file in found if file not in ours]

    DAG.incomplete_files = incomplete_but_left
