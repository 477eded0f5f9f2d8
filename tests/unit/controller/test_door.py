"""The socket of a controller that was kept."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest

from snakemake_executor_daskjq.controller import door
from snakemake_executor_daskjq.controller.door import Door, PeerOf, doors, is_open, knock


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Deeper than the 107 characters that a socket's path may have."""
    folder = tmp_path / ("deep" * 30) / "run-1"
    folder.mkdir(parents=True)
    return folder


async def visited(folder: Path) -> list[int]:
    pids: list[int] = []
    came = asyncio.Event()

    async def welcome(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pid: int) -> None:
        pids.append(pid)
        came.set()
        writer.close()

    opened = await Door.open(folder, welcome)
    assert stat.S_IMODE((folder / door.NAME).stat().st_mode) == 0o600
    assert doors(folder.parent) == [folder]
    with knock(folder) as sock:
        sock.setblocking(False)
        assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 1), 10) == b""
    await opened.close()
    return pids


def test_who_knocks_is_known_by_the_kernel(folder: Path) -> None:
    assert asyncio.run(visited(folder)) == [os.getpid()]
    assert doors(folder.parent) == []
    assert not is_open(folder.parent)


def test_other_users_are_turned_away(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "peer_of", lambda sock: PeerOf(os.getpid(), os.getuid() + 1, 0))
    assert asyncio.run(visited(folder)) == []


def test_a_dead_controllers_socket_is_not_open(folder: Path) -> None:
    asyncio.run(_left_behind(folder))
    assert doors(folder.parent) == [folder]
    assert not is_open(folder.parent)
    with pytest.raises(ConnectionRefusedError):
        knock(folder)


async def _left_behind(folder: Path) -> None:
    async def welcome(*_: object) -> None: ...

    opened = await Door.open(folder, welcome)
    opened._server.close()
