"""`daskjq stop`: end controllers that were kept, with their pilots."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from ..controller import protocol
from ..controller.door import doors, knock, peer_of, remove, runs, silent
from ..errors import DaskjqError
from ..executor.peers import swept
from ..frames import encode
from ..journal.journal import RunFolder

if TYPE_CHECKING:
    import socket
    from pathlib import Path

STOP_S = 120.0
"""So long a controller may take to end all that it has."""

LOOK_S = 0.05


def stop(log_folder: Path) -> list[str]:
    """End the kept controllers of a log folder, and wait until they have ended; returns what to tell of each.

    Runs that use one fail. Raises DaskjqError where one does not end, or none is found.
    """
    told = []
    elsewhere = []
    for path in doors(log_folder / "runs"):
        folder = RunFolder(log_folder, path.name)
        try:
            sock = knock(path)
        except OSError:
            record = silent(path)
            if record is None:
                told.append(f"The controller of run {path.name} has died. {swept(folder)}")
                remove(path)
            elif record.is_here:
                raise _stuck(folder, record.pid, "does not answer") from None
            else:
                elsewhere.append(f"that of run {path.name} is on {record.host}")
            continue
        with sock:
            _stop(sock, folder)
        told.append(f"The controller of run {path.name} has ended, and all its pilots.")
    if not told:
        where = f" ({'; '.join(elsewhere)}: stop it there)" if elsewhere else ""
        raise DaskjqError(
            f"No controller is kept in {log_folder} on this host{where}. --log-folder names another folder."
        )
    return told


def _stop(sock: socket.socket, folder: RunFolder) -> None:
    """Raises DaskjqError where the controller does not end in time."""
    pid = peer_of(sock).pid
    until = time.monotonic() + STOP_S
    sock.settimeout(STOP_S)
    with contextlib.suppress(OSError):  # it may be ending already
        sock.sendall(encode(protocol.SHUT_DOWN))
        while sock.recv(4096):
            pass
    while runs(pid):
        if time.monotonic() > until:
            raise _stuck(folder, pid, f"has not ended in {STOP_S:.0f} s")
        time.sleep(LOOK_S)


def _stuck(folder: RunFolder, pid: int, what: str) -> DaskjqError:
    return DaskjqError(
        f"The controller of run {folder.name} (process {pid}) {what}. 'kill -9 {pid}' ends it, and its pilots end by "
        f"themselves then. Its log: {folder.controller_log}"
    )
