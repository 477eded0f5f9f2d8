"""How long a controller is there, and that it ends once, whoever asks for that."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from snakemake_executor_daskjq.controller import protocol
from snakemake_executor_daskjq.controller.process import NOTHING, Server

STOPPED = protocol.Stopped(frozenset({"a-1-1"}), ("what it used",))


class FakeDoor:
    """Stands in for the socket by which others come."""

    is_open = True

    async def close(self) -> None:
        self.is_open = False

    def tell_left(self, jobs: int) -> None: ...


class FakeService:
    """Stands in for pilots and runs: the test says when they have ended."""

    def __init__(self) -> None:
        self.left = SimpleNamespace(running=lambda: self.running)
        self.running = 0
        self.stops = 0
        self.may_end = asyncio.Event()

    async def stop(self, *, cancel: bool) -> dict[int, protocol.Stopped]:
        self.stops += 1
        await self.may_end.wait()
        return {1: STOPPED}

    async def end(self, number: int, *, cancel: bool) -> protocol.Stopped:
        await self.may_end.wait()
        return STOPPED


Scenario = Callable[[Any, FakeService], Awaitable[None]]
Play = Callable[[Scenario], None]


@pytest.fixture
def play() -> Play:
    def run(scenario: Scenario) -> None:
        async def body() -> None:
            service = FakeService()
            ours, theirs = socket.socketpair()
            with ours, theirs:
                server: Any = Server(ours)
                server.service, server._door, server._keep_s = service, FakeDoor(), 3600.0
                await asyncio.wait_for(scenario(server, service), 10)

        asyncio.run(body())

    return run


@dataclass(frozen=True)
class Begun:
    """Stands in for the connection of a run that has begun."""

    number: int = 1
    keep_s: float = 0.0
    has_begun: bool = True
    is_owner: bool = False
    speaker: Any = None


def connection(number: int = 1, keep_s: float = 0.0, **more: Any) -> Any:
    return Begun(number, keep_s, **more)


def test_there_is_one_end_of_the_time_that_pilots_are_kept(play: Play) -> None:
    async def scenario(server: Any, service: FakeService) -> None:
        server._leave()
        first = server._timer
        server._leave()  # a run has come and gone, or one that was left is over
        second = server._timer
        assert first.cancelled()
        assert not second.cancelled()
        server._stay()
        assert second.cancelled()

    play(scenario)


def test_jobs_that_were_left_have_all_the_time(play: Play) -> None:
    async def scenario(server: Any, service: FakeService) -> None:
        service.running = 1
        server._leave()
        assert server._timer is None
        service.running = 0
        server._leave()
        assert server._timer is not None

    play(scenario)


def test_all_ends_once_and_whoever_gives_up_waiting_cuts_nothing_short(play: Play) -> None:
    async def scenario(server: Any, service: FakeService) -> None:
        impatient = asyncio.create_task(server.shut_down())
        patient = asyncio.create_task(server.run_ends(connection(), cancel=True))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        impatient.cancel()
        service.may_end.set()
        assert await patient == STOPPED
        assert service.stops == 1
        assert not server._door.is_open
        assert await server.run_ends(connection(2), cancel=True) == NOTHING

    play(scenario)


def test_the_end_of_all_overtakes_that_of_a_run(play: Play) -> None:
    async def scenario(server: Any, service: FakeService) -> None:
        ending = asyncio.create_task(server.run_ends(connection(keep_s=60.0), cancel=True))
        await asyncio.sleep(0)
        assert service.stops == 0
        server._end_all(cancel=True)
        service.may_end.set()
        assert await ending == STOPPED  # which does not say that pilots are kept
        assert service.stops == 1

    play(scenario)


def test_a_run_that_keeps_nothing_leaves_what_another_uses_or_has_left(play: Play) -> None:
    async def scenario(server: Any, service: FakeService) -> None:
        service.may_end.set()
        service.running = 1
        assert (await server.run_ends(connection(), cancel=False)).is_kept
        service.running = 0
        other = connection(2)
        server._connections[other] = None
        assert (await server.run_ends(connection(), cancel=False)).is_kept
        server.insist(connection())
        assert not server._is_due.is_set()
        del server._connections[other]
        server.insist(connection())
        assert server._is_due.is_set()
        assert not (await server.run_ends(connection(), cancel=False)).is_kept

    play(scenario)


def test_jobs_that_were_left_keep_their_time_when_a_run_without_comes_and_goes(play: Play) -> None:
    async def scenario(server: Any, service: FakeService) -> None:
        service.may_end.set()
        service.running = 1
        await server.run_ends(connection(keep_s=0.0), cancel=False)
        assert server._keep_s == 3600.0
        service.running = 0
        await server.run_ends(connection(keep_s=60.0), cancel=False)
        assert server._keep_s == 60.0

    play(scenario)


def test_who_only_asks_changes_no_time(play: Play) -> None:
    async def scenario(server: Any, service: FakeService) -> None:
        server._leave()
        timer = server._timer

        async def asks(pid: int) -> None:
            assert server._timer is timer

        await server._serve(SimpleNamespaceWithHash(number=0, serve=asks), 1)
        assert server._timer is timer
        assert not timer.cancelled()

    play(scenario)


class SimpleNamespaceWithHash(SimpleNamespace):
    __hash__ = object.__hash__


def test_the_end_of_who_has_started_it_for_others_is_the_end_of_all(play: Play) -> None:
    async def scenario(server: Any, service: FakeService) -> None:
        told: list[str] = []
        speaker = SimpleNamespaceWithHash(give_up=lambda error: told.append(str(error)))
        server._connections[connection(2, speaker=speaker)] = None
        service.may_end.set()
        assert await server.run_ends(connection(1, 3600.0, is_owner=True), cancel=True) == STOPPED
        assert told == ["'daskjq start', which had started the controller, has ended it"]

    play(scenario)


def test_nobody_is_admitted_to_what_is_ending(play: Play) -> None:
    async def scenario(server: Any, service: FakeService) -> None:
        frames: list[Any] = []
        late: Any = SimpleNamespace(number=3, speaker=SimpleNamespace(send=frames.append))
        service.may_end.set()
        server._end_all(cancel=True)
        await server.begin(late, protocol.Begin(base=Path(), name="run-3", cwd=".", environment={}))
        assert [frame["op"] for frame in frames] == ["failed"]
        assert "just ending: run Snakemake again" in frames[0]["text"]

    play(scenario)
