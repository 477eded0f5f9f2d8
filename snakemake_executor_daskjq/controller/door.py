"""The socket by which later runs find a controller that was kept: theirs only who has started it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

import psutil

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    Welcome = Callable[[asyncio.StreamReader, asyncio.StreamWriter, int], Awaitable[None]]

NAME = "controller.sock"
_CREDENTIALS = struct.Struct("3i")


class PeerOf(NamedTuple):
    """The process at the other end of a socket as it was connected (`SO_PEERCRED` of unix(7))."""

    pid: int
    uid: int
    gid: int


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
        self._path = folder / NAME
        self._server = server

    @classmethod
    async def open(cls, folder: Path, welcome: Welcome) -> Door:
        """Have `welcome` called with the streams and the process id of each that comes. Raises OSError."""
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
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
        with contextlib.suppress(OSError):
            self._path.unlink()
        self._server.close()


def doors(runs: Path) -> list[Path]:
    """The folders of runs whose controllers may listen, the latest first."""
    return sorted((path.parent for path in runs.glob(f"*/{NAME}")), reverse=True)


def is_open(runs: Path) -> bool:
    """Whether a controller listens in one of the folders of runs."""
    for folder in doors(runs):
        with contextlib.suppress(OSError):
            knock(folder).close()
            return True
    return False


def knock(folder: Path) -> socket.socket:
    """A connection to the controller that listens in a folder. Raises OSError where none does (here)."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short(folder) as path:
            connection.connect(path)
    except BaseException:
        connection.close()
        raise
    return connection
