"""`daskjq stop`: end controllers that were kept, with their pilots."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from ..controller import protocol
from ..controller.door import doors, knock, peer_of, runs
from ..errors import DaskjqError
from ..frames import encode

if TYPE_CHECKING:
    from pathlib import Path

STOP_S = 120.0
"""So long a controller may take to end all that it has."""

LOOK_S = 0.05


def stop(log_folder: Path) -> list[str]:
    """End the kept controllers of a log folder, and wait until they have ended; returns what to tell of each.

    Runs that use one fail. Raises DaskjqError where one does not end, or none is found.
    """
    told = []
    for folder in doors(log_folder / "runs"):
        try:
            sock = knock(folder)
        except OSError:  # dead, or on another host
            continue
        with sock:
            pid = peer_of(sock).pid
            sock.sendall(encode(protocol.SHUT_DOWN))
            sock.settimeout(STOP_S)
            with contextlib.suppress(OSError):
                while sock.recv(4096):
                    pass
        until = time.monotonic() + STOP_S
        while runs(pid):
            if time.monotonic() > until:
                raise DaskjqError(
                    f"The controller of run {folder.name} (process {pid}) has not ended in {STOP_S:.0f} s."
                )
            time.sleep(LOOK_S)
        told.append(f"The controller of run {folder.name} has ended, and all its pilots.")
    if not told:
        raise DaskjqError(
            f"No controller is kept in {log_folder} that this host can reach. One that runs on another host is to be "
            "stopped there; --log-folder names another folder."
        )
    return told
