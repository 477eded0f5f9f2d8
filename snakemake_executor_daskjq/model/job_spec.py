"""A `Launch` on its way from Snakemake to the pilot: a text that nobody in between has to read.

Text and not a structure: what passes it on (JSON frames, Dask's graph) walks through structures, for each job.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from typing import Any

from .rendezvous import VARIABLE, Invitation
from .request import Command, Launch, Limits, WarmStart

_LAUNCH = tuple(field.name for field in fields(Launch) if field.name not in ("command", "grant"))
_COMMAND = tuple(field.name for field in fields(Command))
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


@dataclass(frozen=True, slots=True)
class JobSpec:
    """How a job is started. `text` may hold secrets, so it is never shown; `worker` is that of its Dask workers."""

    key: str
    text: str
    worker: str = ""

    def __repr__(self) -> str:
        return f"JobSpec({self.key!r})"


def spec_of(launch: Launch) -> JobSpec:
    """A launch without its grant, which the pilot fills in."""
    fields = {name: getattr(launch, name) for name in _LAUNCH}
    if (command := launch.command) is not None:
        fields["command"] = {name: getattr(command, name) for name in _COMMAND}
    return JobSpec(launch.key, _encode(fields))


def invited(leader: JobSpec, folder: str) -> JobSpec:
    """That of one try of a job with Dask workers, which meet in a folder of their own."""
    return replace(leader, text=_invited(leader.text, folder), worker=_invited(leader.worker, folder))


def _invited(text: str, folder: str) -> str:
    launch = launch_of(text)
    invitation = Invitation.of(launch.env)
    assert invitation is not None
    return spec_of(replace(launch, env={**launch.env, VARIABLE: replace(invitation, folder=folder).text()})).text


def worker_spec(leader: JobSpec, key: str) -> JobSpec:
    """That of a Dask worker of a job: of all that it has, with a key and a log of its own."""
    launch = launch_of(leader.worker)
    return spec_of(replace(launch, key=key, log_path=f"{launch.log_path}.{key.rpartition('.')[2]}"))


def launch_of(text: str) -> Launch:
    """The launch that `spec_of` was given.

    >>> launch = Launch("a", ("--cores", "1"), (), "/", "/log", "python", command=Command((("true",),), "/"))
    >>> launch_of(spec_of(launch).text) == launch
    True
    """
    fields: dict[str, Any] = {name: _tuples(value) for name, value in json.loads(text).items()}
    command = fields.pop("command", None)
    if command is not None:
        command = Command(**{name: _tuples(value) for name, value in command.items()})
    fields |= {"warm_start": WarmStart(fields["warm_start"]), "limits": Limits(fields["limits"])}
    return Launch(**fields, command=command)


def _tuples(value: Any) -> Any:
    """JSON has lists only."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
