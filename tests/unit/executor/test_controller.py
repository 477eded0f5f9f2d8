"""Snakemake's end of a controller, with real processes."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from snakemake_executor_daskjq.config.settings import Config
from snakemake_executor_daskjq.controller import protocol
from snakemake_executor_daskjq.errors import ControllerError
from snakemake_executor_daskjq.executor import peers
from snakemake_executor_daskjq.executor.controller import Controller
from snakemake_executor_daskjq.model.job_spec import JobSpec
from snakemake_executor_daskjq.model.pool import Pool
from snakemake_executor_daskjq.model.request import Request

CONFIG = Config((Pool("local", "local", cores=3, mem_mb=100),), Path("folder"))


class Heard:
    """What a run is told."""

    def __init__(self) -> None:
        self.given_up: list[str] = []

    def jobs_ended(self, ends: list[protocol.Ended]) -> None: ...

    def hear(self, level: str, text: str) -> None: ...

    def give_up(self, text: str) -> None:
        self.given_up.append(text)


def started(config: Config, heard: Heard) -> Any:
    return Controller(peers.Own(config, None), config.lease_s, heard)


def test_pools_are_completed_before_a_run_begins_and_nothing_is_left_of_one_that_never_does() -> None:
    heard = Heard()
    one = started(CONFIG, heard)
    assert [pool.amounts for pool in one.pools()] == [{"cores": 3, "mem_mb": 100}]
    one.discard()
    assert one._peer._process.returncode == -signal.SIGKILL
    assert heard.given_up == []


def test_settings_that_can_t_be_completed_are_told_in_the_words_of_the_error() -> None:
    one = started(Config((Pool("pbs", "pbs"),), Path("folder")), Heard())
    with pytest.raises(ControllerError, match="--daskjq-cores, or cores of pool pbs in the pools file: found None"):
        one.pools()
    one.discard()


def test_one_that_ends_at_its_start_is_told_with_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "PACKAGE", "json.tool")  # which expects a file
    heard = Heard()
    one = started(CONFIG, heard)
    words = r"The controller of the run ended with exit status \d+\. Its last words: .*No such file or directory"
    with pytest.raises(ControllerError, match=words):
        one.pools()
    assert one.stop(cancel=True) == protocol.Stopped(frozenset(), ())
    assert len(heard.given_up) == 1


def test_no_call_waits_for_one_that_is_stopped() -> None:
    one = started(CONFIG, Heard())
    one.pools()
    os.kill(one._peer._process.pid, signal.SIGSTOP)
    job = Request("a", 1, "a", 1, {"cores": 1}), JobSpec("a", "x" * 2**20), None
    begun = time.monotonic()
    for _ in range(20):  # many times what the socket takes
        one.submit([job])
    assert time.monotonic() - begun < 5
    one.discard()
    assert one._peer._process.returncode == -signal.SIGKILL
