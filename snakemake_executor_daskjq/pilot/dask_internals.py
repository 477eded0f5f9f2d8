"""All that pilots and guests' visits use of Dask's worker beyond what its documentation promises.

Written for distributed 2025.1 to 2026.8. A pilot looks whether it is there before it takes jobs (`check`).
"""

from __future__ import annotations

import importlib.metadata
import json
from typing import TYPE_CHECKING, Any

from distributed.worker_state_machine import TaskState

if TYPE_CHECKING:
    from collections.abc import Mapping


OUTCOME = "daskjq"
"""The name of an outcome in the metadata of a task."""


INTERVAL_S = 0.01
"""What is to be sent within so long after a message goes in one: each costs as much as what is in it."""


class UnexpectedDaskError(Exception):
    """This version of Dask lacks something that daskjq needs; the text is meant for the user."""

    def __init__(self, lacks: str) -> None:
        super().__init__(lacks)
        self.lacks = lacks

    def __str__(self) -> str:
        version = importlib.metadata.version("distributed")
        return f"distributed {version} has no {self.lacks}, which daskjq needs: install 'distributed>=2025.1,<2027'"


def check(worker: Any) -> None:
    """Raises UnexpectedDaskError where a worker lacks what is used of it."""
    if lacking := [f"Worker.{name}" for name in ("contact_address", "scheduler") if not hasattr(worker, name)]:
        raise UnexpectedDaskError(", ".join(lacking))
    running_tasks(worker)
    if "metadata" not in TaskState.__dataclass_fields__:
        raise UnexpectedDaskError("TaskState.metadata")
    if not hasattr(worker, "batched_stream"):
        raise UnexpectedDaskError("Worker.batched_stream")


def batch_messages(worker: Any) -> None:
    """Have a worker send many small messages to its scheduler at once."""
    worker.batched_stream.interval = INTERVAL_S


async def ask_scheduler(worker: Any, operation: str) -> Any:
    """What the scheduler answers to an operation that it serves (`dask_cluster.dask_internals`), told who asks."""
    return await getattr(worker.scheduler, operation)(address=worker.contact_address)


def tell_at_end(worker: Any, key: str, outcome: list[Any]) -> None:
    """Have the scheduler's plugins hear a task's outcome with the word that it has ended.

    As JSON, which is ASCII: what msgpack can't write (half a character, of a file's name) ends the worker.
    """
    worker.state.tasks[key].metadata[OUTCOME] = json.dumps(outcome)


def running_tasks(worker: Any) -> list[tuple[str, Mapping[str, float]]]:
    """The tasks that run on a worker now: the key of each, and the resources that it holds.

    Raises UnexpectedDaskError where the worker does not tell.
    """
    try:
        return [(str(task.key), task.resource_restrictions or {}) for task in worker.state.executing]
    except AttributeError as error:
        raise UnexpectedDaskError(f"Worker.state.executing as it was ({error})") from error
