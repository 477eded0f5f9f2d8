"""A Dask worker of a rule's cluster, as a job of the run: `python -m snakemake_executor_daskjq.rules.worker`.

It waits for the rule's scheduler (`model.rendezvous`), and for the next one if the rule closes its cluster and makes
another. It ends when a scheduler is lost, for the rule's job gets other workers if it is started again, and when the
folder is removed: the job has ended then.

The rule's job may run in an environment of its own (`conda:`), so the worker goes on in that one's Python.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from ..model.rendezvous import FILE, Invitation
from .client import RuleNanny, security_of
from .meeting import is_over

if TYPE_CHECKING:
    from collections.abc import Mapping

LOOK_S = 0.2
CONNECT_S = 20.0
"""So long a worker may take to reach its scheduler."""

MODULE = "snakemake_executor_daskjq.rules.worker"


def serve(invitation: Invitation) -> None:
    """Work for the rule's schedulers, one after the other, until one is lost or the rule has ended."""
    while not is_over(invitation.folder):
        told = _scheduler(invitation.folder)
        if told is None:
            time.sleep(LOOK_S)
            continue
        _become_like(told)
        asyncio.run(_work(told, invitation))
        if told == _scheduler(invitation.folder):
            return


def _become_like(told: Mapping[str, Any]) -> None:
    """Have the rule's folder, variables and Python. Where that is another one, what it is told is read anew in it."""
    with contextlib.suppress(OSError):  # one of the rule's host alone
        os.chdir(told["cwd"])
    os.environ.update(told["variables"])
    if told["python"] != sys.executable:
        os.execve(told["python"], [told["python"], "-P", "-m", MODULE], os.environ)


async def _work(told: Mapping[str, Any], invitation: Invitation) -> None:
    """Work for a scheduler until it has ended, or the rule. Ends the process where it can't be reached."""
    sys.path += [entry for entry in told["path"] if entry not in sys.path]
    nanny = RuleNanny(
        told["address"],
        name=None,
        nthreads=invitation.threads,
        memory_limit="auto" if invitation.memory_mb is None else invitation.memory_mb * 10**6,
        local_directory=os.environ.get("TMPDIR"),
        security=security_of(told),
        death_timeout=CONNECT_S,
        dashboard=False,
        dashboard_address="127.0.0.1:0",
        **({"host": invitation.host} if invitation.host else {"interface": invitation.interface or None}),
    )
    gone = asyncio.create_task(_gone(invitation.folder))
    connecting = asyncio.create_task(_connected(nanny))
    await asyncio.wait([gone, connecting], return_when=asyncio.FIRST_COMPLETED)
    if gone.done():
        os._exit(0)  # whatever Dask waits for
    try:
        await connecting
    except (OSError, TimeoutError, RuntimeError) as error:
        if told != _scheduler(invitation.folder):
            return  # it has just ended, and another may come
        sys.exit(f"daskjq: this Dask worker can't reach its rule's scheduler, {told['address']}: {error}")
    await asyncio.wait([gone, asyncio.create_task(nanny.finished())], return_when=asyncio.FIRST_COMPLETED)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(nanny.close(), CONNECT_S)


async def _connected(nanny: RuleNanny) -> None:
    async with asyncio.timeout(2 * CONNECT_S):
        await nanny


async def _gone(folder: str) -> None:
    while not is_over(folder):  # noqa: ASYNC110 - the end of a folder can't be awaited
        await asyncio.sleep(LOOK_S)


def _scheduler(folder: str) -> dict[str, Any] | None:
    """What the rule's job has written, None where it has not yet."""
    with contextlib.suppress(OSError, ValueError):
        if FILE in os.listdir(folder):  # NFS looks anew at a folder that is opened, not at a name that it has not found
            with open(os.path.join(folder, FILE), encoding="ascii") as file:
                told = json.load(file)
                return told if isinstance(told, dict) else None
    return None


def main() -> None:
    invitation = Invitation.of(os.environ)
    if invitation is None:
        sys.exit("daskjq: this is started for rules that ask for dask_workers, and for nothing else.")
    serve(invitation)


if __name__ == "__main__":
    main()
