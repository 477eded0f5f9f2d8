"""Whatever comes from outside is understood, passed over, or one clear error: never another exception.

Covers a live launcher, settings, pools files, journals, histories and what batch systems say. Frames are in
`test_frames.py`, listings of batch jobs in `batch/test_listings.py`, keys of pools in `test_pools.py`.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from snakemake_executor_daskjq.batch import pbs, sge, slurm, slurm_partitions
from snakemake_executor_daskjq.config.pools import read
from snakemake_executor_daskjq.config.settings import Config, ExecutorSettings, configure
from snakemake_executor_daskjq.errors import NoRunError, SettingError
from snakemake_executor_daskjq.frames import HEADER, encode
from snakemake_executor_daskjq.journal import journal
from snakemake_executor_daskjq.journal.events import PilotFailed
from snakemake_executor_daskjq.journal.history import History
from snakemake_executor_daskjq.report.run import KINDS, Run, load
from snakemake_executor_daskjq.text import file_name, printable

plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
anything = st.recursive(plain, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


def written(data: bytes) -> Path:
    with tempfile.NamedTemporaryFile(prefix="daskjq-fuzz-", delete=False) as file:
        file.write(data)
    return Path(file.name)


# -- a live launcher ------------------------------------------------------------------------------------------

proper: dict[str, st.SearchStrategy[Any]] = {
    "id": st.text(max_size=9),
    "argv": st.sampled_from([["true"], [], [1], ["no such program"]]),
    "cwd": st.sampled_from(["/", "/none", ""]),
    "log": st.sampled_from(["/dev/null", "/none/log"]),
    "env": st.sampled_from([{}, {"A": "b"}, {"A": 1}, {"": "x"}]),
    "cpus": st.sampled_from([[], [99999], ["x"]]),
    "tmpdir": st.just(""),
    "bounds": st.lists(plain, max_size=6),
    "grace_s": plain,
    "until": plain,
}
frames = st.builds(
    lambda op, sound, fuzzed: encode({**sound, **fuzzed, "op": op}),
    st.sampled_from(["start", "stop", "lease", "other"]),
    st.fixed_dictionaries(proper),
    st.dictionaries(st.sampled_from([name for name in proper if name not in ("log", "tmpdir")]), anything, max_size=1),
)


@settings(max_examples=25)
@given(st.lists(frames | st.binary(max_size=30), min_size=1, max_size=4))
@example([HEADER.pack(2) + b"{}"])
@example([encode({"op": "start"})])
@example([encode({"op": "stop", "grace_s": float("nan")})])
@example([encode({"op": "lease", "until": 1e300})])
def test_a_live_host_ends_in_order_whatever_it_is_sent(pieces: list[bytes]) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            command = [sys.executable, "-m", "snakemake_executor_daskjq.launcher.launcher", str(theirs.fileno())]
            host = subprocess.Popen(command, pass_fds=[theirs.fileno()], stderr=subprocess.PIPE, text=True)
        for piece in pieces:
            try:
                ours.sendall(piece)
            except BrokenPipeError:
                break
    _, words = host.communicate(timeout=30)
    assert (host.returncode, "Traceback" in words) == (0, False), words


# -- settings and pools ------------------------------------------------------------------------------------------

texts = (
    st.none() | st.text(max_size=12) | st.sampled_from(["slurm", "local", "4GB", "1h", "²", "1:00", "a:99999", "-1"])
)
options = st.fixed_dictionaries(
    {},
    optional={
        field.name: st.lists(st.text(max_size=12), max_size=3)
        if "list" in str(field.type)
        else st.integers(-2, 10**12)
        if "int" in str(field.type)
        else st.none()  # files of pools have a test of their own
        if "Path" in str(field.type)
        else texts
        for field in fields(ExecutorSettings)
    },
)


@settings(max_examples=300)
@given(options)
def test_any_settings_are_a_config_or_a_setting_error(stated: dict[str, Any]) -> None:
    try:
        assert isinstance(configure(ExecutorSettings(**stated)), Config)
    except SettingError as error:
        message = str(error)
    else:
        message = "allowed is anything like this"
    assert "allowed is" in message


names = ["pools", "defaults", "a", "executor", "system", "cores", "memory", "rules", "resources", "directives", "nodes"]
documents = st.dictionaries(
    st.sampled_from(names), st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(names), inner, max_size=4), max_leaves=8), max_size=3
)  # fmt: skip


@settings(max_examples=300)
@given(st.binary(max_size=80) | st.text(max_size=80).map(str.encode) | documents.map(lambda d: json.dumps(d).encode()))
@example(b"pools: &a [*a]")
@example(b"pools: &a {b: *a}")
@example(b"? [a]\n: b")
def test_any_pools_file_is_pools_or_a_setting_error(data: bytes) -> None:
    path = written(data)
    try:
        assert read(path)
    except SettingError as error:
        message = str(error)
    else:
        message = "allowed is anything like this"
    finally:
        path.unlink()
    assert "allowed is" in message


# -- journals and histories ------------------------------------------------------------------------------------------

lines = st.fixed_dictionaries({"event": st.sampled_from(sorted(KINDS)) | st.text()}, optional={
    **{name: st.sampled_from(["k", "p", "local"]) | anything for name in ("key", "pilot", "pool", "rule", "end")},
    **dict.fromkeys(("t", "amounts", "attempt", "job_id", "pools", "reported", "ended_at", "started_at"), anything),
})  # fmt: skip


@settings(max_examples=80)
@given(st.lists(st.binary(max_size=40) | lines.map(lambda line: json.dumps(line).encode()), max_size=8))
@example([b"[" * 100_000])
@example([b'{"t":1e999,"event":"_init__"}', b"1" * 5000])
def test_any_journal_is_a_run_or_no_run(found: list[bytes]) -> None:
    with tempfile.TemporaryDirectory(prefix="daskjq-fuzz-") as folder:
        path = Path(folder, "journal.jsonl")
        path.write_bytes(b"\n".join(found))
        assert all(isinstance(event, dict) for event in journal.read(path))
        with contextlib.suppress(NoRunError):
            assert isinstance(load(Path(folder)), Run)


@given(st.text())
def test_what_is_written_into_a_journal_is_one_line_and_comes_back(words: str) -> None:
    path = written(b"")
    try:
        book = journal.Journal(path, complain=lambda text: None)
        book.write(PilotFailed("p", words, 1.0))
        book.close()
        assert path.read_bytes().count(b"\n") == 1
        assert [event["words"] for event in journal.read(path)] == [words]
    finally:
        path.unlink()


@given(st.binary(max_size=60) | anything.map(lambda value: json.dumps({"schema": 1, "rules": {"a": value}}).encode()))
def test_any_history_is_one_or_none(data: bytes) -> None:
    path = written(data)
    try:
        assert set(History(path).rules) <= {"a"}
    finally:
        path.unlink()


# -- what batch systems say ------------------------------------------------------------------------------------------

known = (
    *(
        "failed ",
        "exit_status ",
        "Job Id: 7",
        "Exit_status = ",
        "comment = ",
        "PartitionName=",
        "JobState=",
        "ExitCode=",
        "MaxTime=",
        "State=",
        "MaxMemPerCPU=",
        "AllowGroups=",
        "FAILED",
    ),
    *("main", "9:0", "1-00:00", "UP", "UNLIMITED", "|", "\n", " ", "=", ",", "²", "4", "4+", "gpu:a100:2"),
)
words = st.lists(st.sampled_from(known) | st.text(max_size=5), max_size=25).map("".join)


@given(words)
def test_any_record_of_a_batch_job_is_words_or_nothing(text: str) -> None:
    for found in (slurm.ended(text), sge.ended(text), *map(pbs.ended, pbs.jobs(text).values())):
        assert found is None or found.words == printable(found.words)


@given(words, words)
@example("PartitionName=main MaxTime=²-00:00", "main|4|4000|gpu:²|1")
def test_any_answers_about_partitions_are_partitions_or_none(partitions: str, nodes: str) -> None:
    for found in slurm_partitions.parse(partitions, nodes, ["users"], None):
        assert found.name


# -- texts --------------------------------------------------------------------------------


@given(st.text())
def test_any_text_becomes_the_name_of_one_file(text: str) -> None:
    name = file_name(text)
    assert os.sep not in name
    assert not name.startswith(".")
    assert len(name.encode()) <= 200
