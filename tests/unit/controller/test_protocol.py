"""What one side writes, the other reads, through real frames."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_daskjq.config.settings import Config
from snakemake_executor_daskjq.controller import protocol
from snakemake_executor_daskjq.frames import Decoder, Frame, encode
from snakemake_executor_daskjq.model.claim import Claim, LeftJob
from snakemake_executor_daskjq.model.job_spec import JobSpec
from snakemake_executor_daskjq.model.outcome import Outcome
from snakemake_executor_daskjq.model.pool import Pool
from snakemake_executor_daskjq.model.request import Outlook, Request

names = st.text(max_size=8) | st.just("\udcff")
amounts = st.dictionaries(names, st.integers(), max_size=2)
numbers = st.floats(allow_nan=False)
paths = st.just(Path("a folder"))
requests = st.builds(
    Request, key=names, rule=names, amounts=amounts, beyond=amounts, pools=st.none() | st.tuples(names, names)
)
outcomes = st.builds(
    Outcome, started_at=numbers, ended_at=numbers, cpu_s=numbers, peak_mem_mb=numbers, detail=names, log_tail=names
)
pools = st.builds(
    Pool,
    system=names,
    name=names,
    others=amounts,
    cost_per_hour=st.none() | numbers,
    idle_timeout_s=numbers,
    labels=st.tuples(names),
    directives=st.tuples(names, names),
    scratch_folder=st.none() | paths,
)
configs = st.builds(Config, pools=st.lists(pools, max_size=2).map(tuple), log_folder=paths, lease_s=numbers)
outlooks = st.builds(
    Outlook, jobs=amounts, follows=st.dictionaries(names, st.frozensets(names, max_size=2), max_size=2)
)


def sent(*frames: Frame) -> list[Frame]:
    return Decoder().feed(b"".join(map(encode, frames)))


@given(configs, st.none() | st.integers())
def test_open(config: Config, cores_limit: int | None) -> None:
    (frame,) = sent(protocol.open_frame(config, cores_limit, {"python": "/usr"}))
    assert protocol.read_open(frame) == (config, cores_limit)


@given(st.builds(protocol.Begin, base=paths, name=names, cwd=names, environment=st.just({"A": "b"})), outlooks)
def test_begin(begin: protocol.Begin, outlook: Outlook) -> None:
    first, second = sent(protocol.begin_frame(begin), protocol.learn_frame(outlook))
    assert protocol.read_begin(first) == begin
    assert protocol.read_learn(second) == outlook


files = st.lists(names, max_size=2).map(tuple)
claims = st.none() | st.builds(Claim, names, files, files, names)


@given(st.lists(st.tuples(requests, names, claims), max_size=3))
def test_jobs(jobs: list[tuple[Request, str, Claim | None]]) -> None:
    batch = [(request, JobSpec(request.key, text), claim) for request, text, claim in jobs]
    frames = sent(*protocol.job_frames(batch))
    assert [job for frame in frames for job in protocol.read_jobs(frame, 1)] == batch
    assert len(frames) == bool(batch)


def test_jobs_with_long_commands_are_several_frames() -> None:
    request = Request("a", 1, "a", 1, {"cores": 1})
    batch = [(request, JobSpec("a", "x" * (protocol.MOST_TEXT // 2 + 1)), None)] * 5
    frames = sent(*protocol.job_frames(batch))
    assert [len(frame["jobs"]) for frame in frames] == [2, 2, 1]


@given(requests, names, st.lists(st.tuples(names, st.booleans()), max_size=3))
def test_what_snakemake_tells_of_single_jobs(request: Request, why: str, reports: list[tuple[str, bool]]) -> None:
    unstarted, reported = sent(protocol.unstarted_frame(request, why), protocol.reported_frame(reports))
    assert protocol.read_unstarted(unstarted, 1) == (request, why)
    assert protocol.read_reported(reported) == reports


@given(st.lists(st.builds(protocol.Ended, names, names, outcomes), max_size=3))
def test_ends(ends: list[protocol.Ended]) -> None:
    (frame,) = sent(protocol.ends_frame(ends))
    assert protocol.read_ends(frame) == ends


@given(st.lists(pools, max_size=3), st.builds(protocol.Stopped, st.frozensets(names), st.tuples(names), st.booleans()))
def test_what_the_controller_answers(completed: list[Pool], stopped: protocol.Stopped) -> None:
    admission = protocol.Admission(tuple(completed), 3, {"all": LeftJob("run-1", "all-0-1", 1, has_ended=True)})
    first, last = sent(protocol.pools_frame(admission), protocol.stopped_frame(stopped))
    assert protocol.read_pools(first) == admission
    assert protocol.read_stopped(last) == stopped


def test_no_field_of_what_is_written_without_names_is_forgotten() -> None:
    request = Request("a", 1, "a", 1, {"cores": 1})
    own = [field for field in fields(Request) if field.name not in ("leader", "run")]  # the controller's
    assert len(protocol.unstarted_frame(request, "")["request"]) == len(own)
    assert len(protocol.ends_frame([protocol.Ended("a", "p", Outcome("failed"))])["ends"][0]) == 2 + len(
        fields(Outcome)
    )  # type: ignore[arg-type]
