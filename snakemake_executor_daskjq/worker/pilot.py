"""The process of a pilot: one Dask worker and its rule host. `python -m snakemake_executor_daskjq.worker.pilot`.

It takes the arguments that dask-jobqueue gives to `dask worker`. Our own main instead of `dask worker
--no-nanny`, which after a SIGTERM may wait for ever in asyncio's shutdown (distributed 2026.8) and so outlive
its batch job. What must hold: once this process is told to end, or has lost its scheduler, its jobs are ended
(TERM, then KILL) and it is gone within `GRACE_S + EXIT_S`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from distributed import Worker
from distributed.security import Security

from . import contexts
from .grants import Grants

if TYPE_CHECKING:
    from collections.abc import Sequence

GRACE_S = 5.0
EXIT_S = 10.0

logger = logging.getLogger("distributed.worker")


def parser() -> argparse.ArgumentParser:
    """The options of `dask worker` that dask-jobqueue and `cluster.pilots` use."""
    parser = argparse.ArgumentParser(prog="daskjq pilot", allow_abbrev=False)
    parser.add_argument("scheduler")
    parser.add_argument("--name", required=True)
    parser.add_argument("--nthreads", type=int, required=True)
    parser.add_argument("--memory-limit", default="0")
    parser.add_argument("--death-timeout", type=float)
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


async def serve(options: dict[str, Any]) -> None:
    """Run the worker until it is told to end or has lost its scheduler. Raises TimeoutError if it never connects."""
    told = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(signum, told.set)
    amounts = {name: int(amount) for name, amount in options["resources"].items()}
    contexts.grants = Grants.of_this_process(amounts, options["local_directory"])
    worker = await Worker(**options)
    ends = [asyncio.create_task(worker.finished()), asyncio.create_task(told.wait())]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    _exit_in(GRACE_S + EXIT_S)
    logger.info("Ending: %s", "told to" if told.is_set() else "the scheduler is gone")
    await contexts.stop_jobs(GRACE_S)
    contexts.grants.close()
    await worker.close(reason="pilot-ends", executor_wait=False)


def _exit_in(seconds: float) -> None:
    """A last resort against anything that hangs while the pilot ends."""
    timer = threading.Timer(seconds, os._exit, [1])
    timer.daemon = True
    timer.start()


def main(argv: Sequence[str] | None = None) -> None:
    status = 0
    try:
        asyncio.run(serve(worker_options(parser().parse_args(argv))))
    except TimeoutError:
        print("daskjq: the pilot could not reach its scheduler in time", file=sys.stderr)
        status = 1
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    os._exit(status)  # everything is closed; threads that Dask left must not keep the batch job


if __name__ == "__main__":
    main()
