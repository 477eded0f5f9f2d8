"""The controller's own process."""

from __future__ import annotations

import asyncio
import os

import pytest

from snakemake_executor_daskjq.controller import connection


@pytest.mark.parametrize("by_kernel", [True, False])
def test_the_end_of_its_parent_is_noticed_also_where_the_kernel_does_not_tell(
    monkeypatch: pytest.MonkeyPatch, by_kernel: bool
) -> None:
    """Some builds of Python have no `pidfd_open`. A process that has ended takes the part of the parent."""
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        os.read(reading, 1)
        os._exit(0)
    monkeypatch.setattr(connection, "LOOK_S", 0.01)
    if not by_kernel:
        monkeypatch.delattr(os, "pidfd_open")

    async def body() -> None:
        ended = asyncio.Event()
        connection.when_process_ends(pid, ended.set)
        await asyncio.sleep(0)
        assert not ended.is_set()
        os.write(writing, b"x")
        os.waitpid(pid, 0)  # noqa: ASYNC222 - it has been told to end
        await asyncio.wait_for(ended.wait(), 10)

    asyncio.run(body())
    os.close(reading)
    os.close(writing)
