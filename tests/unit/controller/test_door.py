"""The socket of a controller that was kept."""

from __future__ import annotations

import asyncio
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from snakemake_executor_daskjq.controller import door
from snakemake_executor_daskjq.controller.door import Door, PeerOf, Record, doors, knock, remove, silent

ENDED = 2**22 + 1
"""More than the kernel's largest process id."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Deeper than the 107 characters that a socket's path may have."""
    folder = tmp_path / ("deep" * 30) / "run-1"
    folder.mkdir(parents=True)
    return folder


async def visited(folder: Path, monkeypatch: pytest.MonkeyPatch | None = None) -> list[int]:
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
        if monkeypatch is not None:
            monkeypatch.setattr(door, "peer_of", lambda sock: PeerOf(os.getpid(), os.getuid() + 1, 0))
        sock.setblocking(False)
        assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 1), 10) == b""
    await opened.close()
    return pids


def test_who_knocks_is_known_by_the_kernel(folder: Path) -> None:
    assert asyncio.run(visited(folder)) == [os.getpid()]
    assert doors(folder.parent) == []


def test_other_users_are_turned_away(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert asyncio.run(visited(folder, monkeypatch)) == []


def test_a_dead_controllers_socket_is_not_open(folder: Path) -> None:
    asyncio.run(_left_behind(folder))
    assert doors(folder.parent) == [folder]
    with pytest.raises(ConnectionRefusedError):
        knock(folder)


def test_who_does_not_answer_may_live_on_another_host_or_listen_no_more(folder: Path) -> None:
    asyncio.run(_left_behind(folder))
    own = Record.of_this_process()
    assert silent(folder) == own  # this process lives
    for record, found in (
        (replace(own, pid=ENDED), None),
        (replace(own, host="another", pid=ENDED), None),  # a container with the same kernel
        (replace(own, boot="another"), None),  # the same host, before it was booted: the process is another
        (replace(own, started_at=own.started_at - 60), None),  # and here
        (other := replace(own, host="another", boot="another"), other),
    ):
        record.write(folder)
        assert silent(folder) == found
    (folder / door.RECORD).unlink()
    assert silent(folder) is None
    remove(folder)
    assert doors(folder.parent) == []


def test_nobody_speaks_to_another_user(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        opened = await Door.open(folder, _nobody)
        monkeypatch.setattr(door, "peer_of", lambda sock: PeerOf(os.getpid(), os.getuid() + 1, 0))
        with pytest.raises(PermissionError, match="is another user"):
            knock(folder)
        monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)
        assert doors(folder.parent) == []
        await opened.close()

    asyncio.run(body())


async def _nobody(*_: object) -> None: ...


async def _left_behind(folder: Path) -> None:
    opened = await Door.open(folder, _nobody)
    opened._server.close()
