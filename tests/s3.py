"""An S3 server for the tests of Snakemake that want one: moto, which keeps everything in memory, in MinIO's place."""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from moto.server import ThreadedMotoServer

PORT = 9000
"""Where `snakemake.common.tests` looks for MinIO."""


@contextmanager
def s3_server() -> Iterator[None]:
    """One at a time on this machine, for the port is fixed."""
    with Path(tempfile.gettempdir(), f"daskjq-tests-s3-{PORT}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=PORT, verbose=False)
        server.start()
        try:
            yield
        finally:
            server.stop()
