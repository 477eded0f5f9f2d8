"""Several runs on the pilots of one controller: fair among each other, and no run's business is another's."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from snakemake_executor_daskjq.batch.base import Cause, Ended
from snakemake_executor_daskjq.journal import events
from snakemake_executor_daskjq.model.outcome import End
from snakemake_executor_daskjq.model.pool import Pool
from snakemake_executor_daskjq.model.request import DaskWorkers, Request
from snakemake_executor_daskjq.policy import messages

from .core_player import START, Player

FOUR = Pool("main", "slurm", cores=4, mem_mb=4000, walltime_s=7200, max_pilots=2, idle_timeout_s=300)


def jobs(run: int, count: int, cores: int = 1, priority: int = 0, first: int = 0) -> list[Request]:
    return [
        Request(f"{run}:{i}", i, "rule", 1, {"cores": cores}, priority=priority, run=run)
        for i in range(first, first + count)
    ]


def two_runs() -> Player:
    run = Player(FOUR)
    run.hear(messages.RunBegins(2, {}))
    return run


def held(run: Player) -> Counter[str]:
    return Counter(key.partition(":")[0] for key, _ in run.running)


def test_a_run_that_comes_later_gets_its_share_as_jobs_end() -> None:
    run = two_runs()
    run.submit(*jobs(1, 20))
    run.connect("main-1")
    run.submit(*jobs(2, 20))
    assert held(run) == {"1": 4}
    for _ in range(2):
        run.end(next(key for key, _ in run.running if key.startswith("1:")))
    assert held(run) == {"1": 2, "2": 2}
    for _ in range(8):
        run.end(run.running[0][0])
        assert held(run) == {"1": 2, "2": 2}


def test_a_run_alone_has_all() -> None:
    run = two_runs()
    run.submit(*jobs(1, 20))
    run.connect("main-1")
    assert held(run) == {"1": 4}


def test_priorities_count_within_a_run_only() -> None:
    run = two_runs()
    run.submit(*jobs(1, 8, priority=100), *jobs(2, 8))
    run.connect("main-1")
    assert held(run) == {"1": 2, "2": 2}


def test_jobs_of_milliseconds_leave_another_run_its_share() -> None:
    """Jobs that wait at a pilot for one of their kind would keep it for their run."""
    run = two_runs()
    run.submit(*jobs(1, 400))
    run.connect("main-1")
    for _ in range(60):
        run.now += 0.01
        run.end(next(key for key, _ in run.running if key not in run.core.pilots["main-1"].ahead), wall_s=0.01)
    assert len(run.running) > 4
    run.submit(*jobs(2, 400))
    share: Counter[str] = Counter()
    drained = 24  # what is at the pilot already stays there
    for number in range(drained + 100):
        run.now += 0.01
        ahead = run.core.pilots["main-1"].ahead
        key = next(key for key, _ in run.running if key not in ahead)
        run.end(key, wall_s=0.01)
        share[key.partition(":")[0]] += number >= drained
    assert 0.8 <= share["1"] / share["2"] <= 1.25


def test_what_a_gang_waits_for_goes_before_the_share_of_another_run() -> None:
    run = two_runs()
    workers = DaskWorkers(3, 3, {"cores": 1})
    run.submit(Request("1:lead", 1, "lead", 1, {"cores": 1}, workers=workers), *jobs(2, 8))
    run.connect("main-1")
    while held(run)["1"] < 4:
        run.end(next(key for key, _ in run.running if key.startswith("2:")))
    assert held(run) == {"1": 4}


def test_the_end_of_a_run_ends_its_jobs_and_no_others() -> None:
    run = two_runs()
    run.submit(*jobs(1, 2), *jobs(2, 6))
    run.connect("main-1")
    run.hear(messages.RunEnds(1))
    assert {one.key for one in run.others if isinstance(one, messages.EndJob)} == {"1:0", "1:1"}
    run.end("1:0", End.LOST, "ended")
    assert not any(isinstance(one, messages.RunOver) for one in run.others)
    run.end("1:1", End.FAILED)
    (over,) = (one for one in run.others if isinstance(one, messages.RunOver))
    assert (over.run, over.summary.pilots) == (1, 1)
    assert run.reports == []
    assert held(run) == {"2": 4}
    for _ in range(6):
        run.end(run.running[0][0])
    assert [key for key, _, _ in run.reports] == [f"2:{i}" for i in range(6)]


def test_a_run_that_ends_with_a_lost_pilot_is_over_when_that_is_gone() -> None:
    run = two_runs()
    run.submit(*jobs(1, 1))
    run.connect("main-1")
    run.lose("main-1")
    run.hear(messages.RunEnds(1))
    assert not any(isinstance(one, messages.RunOver) for one in run.others)
    run.hear(messages.PilotGone("main-1", Ended("NODE_FAIL", Cause.CRASH)))
    assert any(isinstance(one, messages.RunOver) for one in run.others)
    assert (run.running, run.reports) == ([], [])


def test_one_run_is_withdrawn_and_the_other_goes_on() -> None:
    run = two_runs()
    run.submit(*jobs(1, 2), *jobs(2, 2))
    run.hear(messages.JobsWithdrawn(1))
    assert [(key, end) for key, end, _ in run.reports] == [("1:0", End.WITHDRAWN), ("1:1", End.WITHDRAWN)]
    run.connect("main-1")
    assert held(run) == {"2": 2}


def test_a_pool_that_was_given_up_is_tried_again_for_a_new_run() -> None:
    run = Player(FOUR)
    run.submit(*jobs(1, 1))
    run.hear(messages.PilotStartFailed(run.requested[-1], "sbatch: error: invalid account"))
    run.wait(1.0)
    assert len(run.errors) == 1
    run.hear(messages.RunEnds(1), messages.RunBegins(2, {}))
    run.submit(*jobs(2, 1))
    run.wait(1.0)
    run.connect(run.requested[-1])
    assert held(run) == {"2": 1}


def test_a_run_that_comes_later_learns_of_the_pilots_that_are_there() -> None:
    run = Player(FOUR)
    run.submit(*jobs(1, 1))
    run.connect("main-1", "n1")
    run.wait(30.0)
    run.journal.clear()
    run.hear(messages.RunBegins(2, {}))
    assert [type(event) for _, event in run.journal] == [
        events.PilotRequested,
        events.PilotSubmitted,
        events.PilotStarted,
    ]


def test_a_job_that_a_run_has_left_goes_on_as_another_runs() -> None:
    run = two_runs()
    run.submit(*jobs(1, 2))
    run.connect("main-1")
    run.wait(5.0)
    run.journal.clear()
    taken = replace(jobs(1, 1)[0], run=2)
    run.hear(messages.JobTakenOver(taken))
    assert [type(event) for _, event in run.journal] == [events.JobSubmitted, events.JobTakenOver, events.JobPlaced]
    assert run.core.pilots.ledger.held == {1: 1, 2: 1}
    run.end("1:0")
    assert run.reports == [("1:0", End.SUCCEEDED, "main-1")]
    assert [one.run for one in run.others if isinstance(one, messages.Learn)] == [2]
    run.hear(messages.RunEnds(1))
    assert [one.key for one in run.others if isinstance(one, messages.EndJob)] == ["1:1"]


def test_a_job_that_is_taken_over_and_lost_starts_again_for_its_new_run() -> None:
    run = two_runs()
    run.submit(*jobs(1, 1))
    run.connect("main-1")
    run.lose("main-1")
    run.hear(messages.JobTakenOver(replace(jobs(1, 1)[0], run=2)))
    assert run.running == []
    run.hear(messages.PilotGone("main-1", Ended("NODE_FAIL", Cause.CRASH)))
    run.wait(1.0)
    run.connect(run.requested[-1])
    assert [key for key, _ in run.running] == ["1:0"]
    run.hear(messages.RunEnds(1))
    run.end("1:0")
    assert [key for key, _, _ in run.reports] == ["1:0"]


def test_what_no_run_has_left_is_submitted() -> None:
    run = two_runs()
    run.hear(messages.JobTakenOver(jobs(2, 1)[0]))
    run.connect("main-1")
    assert held(run) == {"2": 1}


def test_a_job_that_writes_the_same_starts_when_the_one_that_was_left_is_over() -> None:
    run = two_runs()
    run.submit(*jobs(1, 2))
    run.connect("main-1")
    run.hear(messages.JobReplaces(jobs(2, 1)[0], ("1:0",)))
    assert [one.key for one in run.others if isinstance(one, messages.EndJob)] == ["1:0"]
    assert held(run) == {"1": 2}
    run.end("1:0", End.FAILED)
    assert held(run) == {"1": 1, "2": 1}
    assert run.reports == []


def test_the_same_key_may_be_had_again_once_it_is_over() -> None:
    run = two_runs()
    run.submit(*jobs(1, 1))
    run.connect("main-1")
    again = replace(jobs(1, 1)[0], run=2)
    run.hear(messages.JobReplaces(again, ("1:0",)))
    run.end("1:0", End.FAILED)
    assert [key for key, _ in run.running] == ["1:0"]
    run.end("1:0")
    assert run.reports == [("1:0", End.SUCCEEDED, "main-1")]


def test_a_job_that_waits_for_one_that_was_left_can_be_withdrawn() -> None:
    run = two_runs()
    run.submit(*jobs(1, 1))
    run.connect("main-1")
    run.hear(messages.JobReplaces(jobs(2, 1)[0], ("1:0",)))
    assert run.core.waiting(2) == ["2:0"]
    run.hear(messages.JobsWithdrawn(2))
    assert run.reports == [("2:0", End.WITHDRAWN, "")]
    run.end("1:0", End.FAILED)
    assert run.running == []


def test_a_gang_that_is_taken_over_brings_its_workers() -> None:
    run = two_runs()
    lead = Request("1:lead", 1, "lead", 1, {"cores": 1}, workers=DaskWorkers(6, 2, {"cores": 1}))
    run.submit(lead)
    run.connect("main-1")
    assert held(run) == {"1": 4}
    run.hear(messages.JobTakenOver(replace(lead, run=2)))
    assert run.core.pilots.ledger.held == {1: 0, 2: 4}
    run.hear(messages.RunEnds(1))
    assert not any(isinstance(one, messages.EndJob) for one in run.others)
    run.end("1:lead")
    assert run.dropped == ["1:lead"]
    assert run.reports == [("1:lead", End.SUCCEEDED, "main-1")]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 2)), min_size=1, max_size=60), st.randoms())
def test_shares_are_fair_while_all_have_work(asked: list[tuple[int, int]], random: object) -> None:
    """No run holds more than a job's cores above another that has jobs waiting which would fit."""
    run = Player(FOUR)
    for number in (2, 3):
        run.hear(messages.RunBegins(number, {}))
    run.submit(*(Request(f"{of}:{i}", i, "r", 1, {"cores": cores}, run=of) for i, (of, cores) in enumerate(asked)))
    for pilot in ("main-1", "main-2"):
        run.connect(pilot)
    while run.running:
        ledger = run.core.pilots.ledger
        waiting = {request.run for request in run.core._ready.waiting()}
        if waiting == {1, 2, 3}:
            counts = [ledger.held[of] for of in (1, 2, 3)]
            assert max(counts) - min(counts) <= 4
        run.end(random.choice(run.running)[0])  # type: ignore[attr-defined]
        run.wait(0.1)
    assert len(run.reports) == len(asked)


@settings(max_examples=20)
@given(
    cores=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    times=st.tuples(st.sampled_from([0.5, 1.0, 3.0]), st.sampled_from([0.5, 1.0, 3.0])),
)
def test_over_time_wide_jobs_get_as_much_as_narrow_ones(cores: tuple[int, int], times: tuple[float, float]) -> None:
    """On six cores, two runs of jobs that are wider or longer than those of the other."""
    run = Player(replace(FOUR, cores=6, mem_mb=6000, max_pilots=1))
    run.hear(messages.RunBegins(2, {}))
    run.submit(*jobs(1, 300, cores[0]), *jobs(2, 300, cores[1]))
    run.connect("main-1")
    ends: dict[str, float] = {}
    had = {"1": 0.0, "2": 0.0}
    while run.now < START + 40:
        for key, _ in run.running:
            ends.setdefault(key, run.now + times[key.startswith("2:")])
        key = min((key for key, _ in run.running), key=lambda key: (ends[key], key))
        for of, wide in zip("12", cores, strict=True):
            had[of] += held(run)[of] * wide * (ends[key] - run.now)
        if ends[key] > run.now:
            run.wait(ends[key] - run.now)
        run.end(key, wall_s=times[key.startswith("2:")])
    assert 0.8 <= had["1"] * 2 / sum(had.values()) <= 1.2, had
    assert sum(had.values()) >= 0.8 * 6 * 40, had
