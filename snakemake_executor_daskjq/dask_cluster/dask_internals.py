"""All that daskjq knows of Dask's scheduler, client and SpecCluster beyond what their documentation promises.

Written for distributed 2025.1 to 2026.8; `check` looks at each start whether it is there. What workers and
dask-jobqueue's job classes are known by is in `pilot.dask_internals` and `pilots`.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
from typing import TYPE_CHECKING, Any

from distributed import Client, Scheduler
from distributed.core import ConnectionPool
from distributed.deploy.spec import SpecCluster
from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.metrics import time
from distributed.scheduler import WorkerState
from distributed.worker_state_machine import TaskFinishedMsg

from ..errors import ClusterStartError
from ..model.outcome import End, Outcome
from ..pilot.dask_internals import INTERVAL_S, OUTCOME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

CLIENT_INTERVAL_S = 0.1
"""Likewise what a scheduler tells its clients: they hear of outcomes in another way."""

_USED: tuple[tuple[type, tuple[str, ...]], ...] = (
    (SpecCluster, ("_correct_state",)),
    (Scheduler, ("identity", "retire_workers", "add_plugin")),
    (SchedulerPlugin, ("transition",)),
    (TaskFinishedMsg, ("metadata",)),
    (WorkerState, ("last_seen", "metrics", "host", "name")),
    (ConnectionPool, ("remove",)),
    (Client, ("submit", "map", "run")),
)
_USED_OF_CLUSTER = ("worker_spec", "scheduler")
_USED_OF_SCHEDULER = ("handlers", "workers", "listen", "listeners", "stream_comms", "client_comms")


def check() -> None:
    """Raises ClusterStartError where Dask's classes lack what is used of them."""
    _refuse([f"{kind.__name__}.{name}" for kind, names in _USED for name in names if not hasattr(kind, name)])


def check_cluster(cluster: Any) -> None:
    """Raises ClusterStartError where a cluster that has started lacks what is used of it."""
    missing = [f"{type(cluster).__name__}.{name}" for name in _USED_OF_CLUSTER if not hasattr(cluster, name)]
    scheduler = getattr(cluster, "scheduler", None)
    missing += [f"Scheduler.{name}" for name in _USED_OF_SCHEDULER if not hasattr(scheduler, name)]
    _refuse(missing)


def _refuse(missing: list[str]) -> None:
    if missing:
        raise ClusterStartError(
            f"distributed {importlib.metadata.version('distributed')} has no {', '.join(missing)}, which daskjq needs. "
            "Install a version that it is tested with: pip install 'distributed>=2025.1,<2027'."
        )


async def add_entry(cluster: Any, name: str, specification: Mapping[str, Any]) -> None:
    """Have a SpecCluster start one more worker."""
    cluster.worker_spec[name] = specification
    await _apply(cluster)


async def remove_entries(cluster: Any, names: Iterable[str]) -> None:
    """Have a SpecCluster close workers, and forget them."""
    for name in names:
        cluster.worker_spec.pop(name, None)
    await _apply(cluster)


async def _apply(cluster: Any) -> None:
    """What SpecCluster documents after a change of its spec.

    Shielded: were it cut short while a pilot starts, nobody would know of that pilot any more.
    """
    await asyncio.shield(cluster._correct_state())


def serve(scheduler: Scheduler, operation: str, answer: Callable[..., object]) -> None:
    """Have a scheduler answer what workers ask it for: `worker.scheduler.OPERATION(**arguments)`."""
    scheduler.handlers[operation] = answer


async def address_inside(scheduler: Scheduler) -> str:
    """An address at which a client in the scheduler's own process needs neither TCP nor TLS."""
    await scheduler.listen("inproc://", allow_offload=False)
    return str(scheduler.listeners[-1].contact_address)


def batch_messages(scheduler: Scheduler, worker: str) -> None:
    """Have a scheduler send many small messages to a worker at once, and to its clients, who hear nothing urgent."""
    scheduler.stream_comms[worker].interval = INTERVAL_S
    for comm in scheduler.client_comms.values():
        comm.interval = CLIENT_INTERVAL_S


def outcome_in(metadata: Mapping[str, Any] | None) -> Outcome:
    """What a job's task has told at its end (`pilot.dask_internals.tell_at_end`)."""
    try:
        return Outcome.of_record(json.loads((metadata or {})[OUTCOME]))
    except (KeyError, TypeError, ValueError) as error:  # of a pilot with another daskjq: what raises here is not heard
        return Outcome(End.LOST, detail=f"its task has ended without an outcome ({type(error).__name__})")


def note_sign_of_life(scheduler: Scheduler, address: str) -> bool:
    """Count as a heartbeat what a worker has just asked; False where the scheduler has no such worker (any more)."""
    worker = scheduler.workers.get(address)
    if worker is None:
        return False
    worker.last_seen = time()
    return True


def name_and_host(scheduler: Scheduler, address: str) -> tuple[str, str]:
    """What a worker is called, and its host as itself calls that (`node` of its metrics), else its address."""
    worker = scheduler.workers[address]
    return str(worker.name), str(worker.metrics.get("node", worker.host))


def metric(scheduler: Scheduler, address: str, name: str) -> Any:
    """What a worker says of itself under a name of its own; None where it says nothing."""
    return scheduler.workers[address].metrics.get(name)


def worker_names(cluster: Any) -> set[str]:
    """What the workers that are connected to a cluster's scheduler are called."""
    return {str(worker.name) for worker in cluster.scheduler.workers.values()}


def has_workers(cluster: Any) -> bool:
    return bool(cluster.scheduler.workers)


def give_up_connections(client: Client, address: str) -> None:
    """Break a client's connections to a worker, and with them the requests that wait for its answer."""
    client.rpc.remove(address)


async def workers(client: Client) -> dict[str, dict[str, Any]]:
    """The workers of a client's scheduler by address, each with `host`, `nthreads`, `memory_limit`, `resources`."""
    identity = await client.scheduler.identity()
    return {address: dict(worker) for address, worker in identity["workers"].items()}
