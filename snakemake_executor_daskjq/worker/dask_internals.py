"""All that pilots and guests' visits know of Dask's worker beyond its documented interface.

Written for distributed 2025.1 to 2026.8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class UnexpectedDaskError(Exception):
    """This version of Dask is not as this module expects; the text says what it lacks."""


def running_tasks(worker: Any) -> list[tuple[str, Mapping[str, float]]]:
    """The tasks that run on a worker now: the key of each, and the resources that it holds.

    Raises UnexpectedDaskError where the worker does not tell.
    """
    try:
        return [(str(task.key), task.resource_restrictions or {}) for task in worker.state.executing]
    except AttributeError as error:
        raise UnexpectedDaskError(f"distributed is not as daskjq knows it ({error}); see its versions") from error
