"""The process of a pilot: one Dask worker and its launcher. `python -m snakemake_executor_daskjq.pilot.process`.

It takes the arguments that dask-jobqueue gives to `dask worker`. Our own main instead of `dask worker
--no-nanny`, which after a SIGTERM may wait for ever in asyncio's shutdown (distributed 2026.8) and so outlive
its batch job. What must hold: once this process is told to end, or has lost its scheduler, its jobs are ended
(TERM, then KILL) and it is gone within `TERM_GRACE_S + EXIT_S`; it has lost it when the connection is, or when it
has got no answer for the length of its `lease`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any

import dask.config
from distributed import Worker
from distributed.security import Security

from ..batch import granted
from ..launcher import processes
from ..launcher.lease import GRACE_S, OPERATION, Lease, uptime_s
from . import dask_internals
from .grants import Grants
from .jobs import PilotJobs
from .renewals import keep_renewing

if TYPE_CHECKING:
    from collections.abc import Sequence

TERM_GRACE_S = 5.0
"""Between TERM and KILL for jobs where the pilot is told to end, by us or by the batch system."""

EXIT_S = 10.0

KNOCK_S = 2.0
"""A pilot that has not connected yet asks this often whether its scheduler is still there."""

DASK_CONFIG = {
    "distributed.worker.http.routes": [],  # the port is open, but answers nothing
    "distributed.worker.profile.enabled": False,  # a hundred looks a second at threads that run nothing
    "distributed.admin.tick.interval": "1s",
}

logger = logging.getLogger("distributed.worker")


def parser() -> argparse.ArgumentParser:
    """The options of `dask worker` that dask-jobqueue and `dask_cluster.pilots` use."""
    parser = argparse.ArgumentParser(prog="daskjq pilot", allow_abbrev=False)
    parser.add_argument("scheduler")
    parser.add_argument("--name", required=True)
    parser.add_argument("--nthreads", type=int, required=True)
    parser.add_argument("--memory-limit", default="0")
    parser.add_argument("--death-timeout", type=float)
    parser.add_argument("--lease", type=float, metavar="SECONDS")
    parser.add_argument("--local-directory")
    parser.add_argument("--interface")
    parser.add_argument("--host")
    parser.add_argument("--protocol")
    parser.add_argument("--resources", default="")
    parser.add_argument("--tls-ca-file", required=True)
    parser.add_argument("--tls-cert", required=True)
    parser.add_argument("--tls-key", required=True)
    return parser


def worker_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """What `distributed.Worker` is created with."""
    amounts = dict(pair.split("=") for pair in arguments.resources.split(",") if pair)
    return {
        "scheduler_ip": arguments.scheduler,
        "name": arguments.name,
        "nthreads": arguments.nthreads,
        "memory_limit": arguments.memory_limit,
        "death_timeout": arguments.death_timeout,
        "local_directory": arguments.local_directory,
        "interface": arguments.interface,
        "host": arguments.host,
        "protocol": arguments.protocol,
        "resources": {name: float(amount) for name, amount in amounts.items()},
        "dashboard": False,
        "dashboard_address": "127.0.0.1:0",  # Dask always opens an HTTP port; keep it off the network
        "security": Security(
            require_encryption=True,
            tls_ca_file=arguments.tls_ca_file,
            tls_worker_cert=arguments.tls_cert,
            tls_worker_key=arguments.tls_key,
        ),
    }


class PilotWorker(Worker):  # type: ignore[misc]
    """A Dask worker with what its pilot runs jobs with."""

    def __init__(self, jobs: PilotJobs, **options: Any) -> None:
        super().__init__(**options)
        self.jobs = jobs

    async def renewed(self) -> bool:
        """Ask the scheduler for a renewal of the lease; False where it does not know this pilot (any more)."""
        return bool(await dask_internals.ask_scheduler(self, OPERATION))

    async def get_metrics(self) -> dict[str, Any]:
        """Dask's, the host's name as the batch system calls it, and the cores that it granted (None if not said)."""
        node = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
        return {**await super().get_metrics(), "node": node, "granted_cores": granted.cores(os.environ)}


async def serve(options: dict[str, Any], lease_s: float | None) -> None:
    """Run the worker until it is told to end or has lost its scheduler. Raises TimeoutError if it never connects."""
    dask.config.set(DASK_CONFIG)
    told = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(signum, told.set)
    amounts = {name: int(amount) for name, amount in options["resources"].items()}
    grants = Grants.of_this_process(amounts, options["local_directory"])
    try:
        # Dask's own files go with the pilot's: by itself it leaves a folder behind.
        await _serve(PilotJobs(grants), {**options, "local_directory": grants.own_folder()}, lease_s, told)
    finally:
        grants.close()


async def _serve(jobs: PilotJobs, options: dict[str, Any], lease_s: float | None, told: asyncio.Event) -> None:
    processes.become_subreaper()  # for what a launcher that dies leaves behind
    worker = await _connect(jobs, options)
    dask_internals.check(worker)
    dask_internals.batch_messages(worker)
    jobs.begin_lease(lease_s)
    ends = [asyncio.create_task(end) for end in (worker.finished(), told.wait(), _over(jobs.lease))]
    if lease_s is not None:
        ends.append(asyncio.create_task(keep_renewing(lease_s, worker.renewed, jobs.renew_lease)))
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    _exit_in(TERM_GRACE_S + EXIT_S)
    logger.info("Ending: %s", "told to" if told.is_set() else "the scheduler is gone")
    await jobs.launchers.stop(TERM_GRACE_S if told.is_set() else GRACE_S)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(worker.close(reason="pilot-ends", executor_wait=False), EXIT_S / 2)


async def _connect(jobs: PilotJobs, options: dict[str, Any]) -> PilotWorker:
    """Start the worker. Raises TimeoutError if it can't reach its scheduler, at once where nothing listens there.

    The scheduler listened before the pilot was submitted; so its run is over, and this batch job has come too late.
    """

    async def start() -> PilotWorker:
        worker: PilotWorker = await PilotWorker(jobs, **options)
        return worker

    tasks = starting, refused = (
        asyncio.create_task(start()),
        asyncio.create_task(_until_refused(options["scheduler_ip"])),
    )
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        raise TimeoutError
    refused.cancel()
    return await starting


async def _until_refused(address: str) -> None:
    host, _, port = address.rpartition("//")[2].rpartition(":")
    while True:
        await asyncio.sleep(KNOCK_S)  # at first too: a worker that connects at once needs no second connection
        try:
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        except ConnectionRefusedError:
            return
        except OSError:
            continue  # a network that is slow or away for a moment: Dask tries again as well
        writer.close()


async def _over(lease: Lease) -> None:
    while not lease.is_over():  # noqa: ASYNC110 - time is what it waits for
        await asyncio.sleep(min(lease.ends_at - uptime_s(), 3600.0))


def _exit_in(seconds: float) -> None:
    """A last resort against anything that hangs while the pilot ends."""
    timer = threading.Timer(seconds, os._exit, [1])
    timer.daemon = True
    timer.start()


def main(argv: Sequence[str] | None = None) -> None:
    status = 0
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["--wait"]:  # a spare one (`dask_cluster.spare`); what follows only tells whose it is
        argv = json.loads(sys.stdin.readline() or os._exit(0))
    try:
        arguments = parser().parse_args(argv)
        asyncio.run(serve(worker_options(arguments), arguments.lease))
    except TimeoutError:
        print("daskjq: the pilot could not reach its scheduler in time", file=sys.stderr)
        status = 1
    except dask_internals.UnexpectedDaskError as error:
        print(f"daskjq: {error}", file=sys.stderr)
        status = 1
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    os._exit(status)  # everything is closed; threads that Dask left must not keep the batch job


if __name__ == "__main__":
    main()
