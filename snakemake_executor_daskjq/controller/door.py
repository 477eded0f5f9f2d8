"""The socket by which later runs find a controller that was kept: theirs only who has started it.

A folder on a shared file system shows it on other hosts, too, where nobody can connect to it. So beside it stands where
it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import psutil

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Welcome = Callable[[asyncio.StreamReader, asyncio.StreamWriter, int], Awaitable[None]]

NAME = "controller.sock"
RECORD = "controller.json"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_CREDENTIALS = struct.Struct("3i")


class PeerOf(NamedTuple):
    """The process at the other end of a socket as it was connected (`SO_PEERCRED` of unix(7))."""

    pid: int
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Record:
    """Where a controller is.

    Attributes
    ----------
    host, boot : the host's name, and the id of its kernel's boot.
    pid, started_at : the process, and when it has started (seconds since the epoch).
    """

    host: str
    boot: str
    pid: int
    started_at: float

    @classmethod
    def of_this_process(cls) -> Record:
        return cls(socket.gethostname(), _boot(), os.getpid(), psutil.Process().create_time())

    @property
    def is_here(self) -> bool:
        """Whether it is, or was, on this host. A container has the kernel of its host, and may have another name."""
        return self.boot == _boot() or self.host == socket.gethostname()

    @property
    def runs_here(self) -> bool:
        """Whether its process runs on this host."""
        try:
            started_at = float(psutil.Process(self.pid).create_time())
        except psutil.NoSuchProcess:
            return False
        return self.boot == _boot() and abs(started_at - self.started_at) < 1 and runs(self.pid)

    def write(self, folder: Path) -> None:
        """Raises OSError."""
        new = folder / f"{RECORD}.new"
        new.write_text(json.dumps(asdict(self)))
        new.replace(folder / RECORD)


def _boot() -> str:
    return BOOT_ID.read_text().strip()


def peer_of(sock: Any) -> PeerOf:
    """Who is at the other end."""
    return PeerOf(*_CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)))


def runs(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@contextlib.contextmanager
def _short(folder: Path) -> Any:
    """A path of the socket that is short enough for the kernel, wherever its folder lies."""
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{NAME}"
    finally:
        os.close(descriptor)


class Door:
    """Listens in a folder that is the user's alone."""

    def __init__(self, folder: Path, server: asyncio.Server) -> None:
        self._folder = folder
        self._server = server

    @classmethod
    async def open(cls, folder: Path, welcome: Welcome) -> Door:
        """Have `welcome` called with the streams and the process id of each that comes. Raises OSError."""
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            Record.of_this_process().write(folder)  # first: who finds the socket may not be answered yet
            with _short(folder) as path:
                listening.bind(path)
            (folder / NAME).chmod(0o600)

            async def come(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                peer = peer_of(writer.get_extra_info("socket"))
                if peer.uid == os.getuid():
                    await welcome(reader, writer, peer.pid)
                else:
                    writer.close()

            return cls(folder, await asyncio.start_unix_server(come, sock=listening))
        except BaseException:
            listening.close()
            raise

    async def close(self) -> None:
        """Nobody can come any more; the socket's file is removed."""
        remove(self._folder)
        self._server.close()


def doors(runs: Path) -> list[Path]:
    """The user's own folders of runs whose controllers may listen, the latest first."""
    found = [path.parent for path in runs.glob(f"*/{NAME}")]
    return sorted((folder for folder in found if folder.stat().st_uid == os.getuid()), reverse=True)


def silent(folder: Path) -> Record | None:
    """Who may live in whose folder nobody answers: on another host, or on this one where it does not listen (any more).

    None where it has died.
    """
    try:
        record = Record(**json.loads((folder / RECORD).read_text()))
    except (OSError, ValueError, TypeError):  # it died while it opened
        return None
    return record if not record.is_here or record.runs_here else None


def remove(folder: Path) -> None:
    """Nobody listens in a folder any more."""
    for name in (NAME, RECORD):
        with contextlib.suppress(OSError):
            (folder / name).unlink()


def knock(folder: Path) -> socket.socket:
    """A connection to the controller that listens in a folder. Raises OSError where none of the user's does (here)."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short(folder) as path:
            connection.connect(path)
        if peer_of(connection).uid != os.getuid():
            raise PermissionError(f"who listens in {folder} is another user")
    except BaseException:
        connection.close()
        raise
    return connection
