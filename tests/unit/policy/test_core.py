"""What happens to jobs when pilots come, go and fail."""

from __future__ import annotations

import pytest

from snakemake_executor_daskjq.batch.base import Cause, Ended, Listed, ListedState
from snakemake_executor_daskjq.errors import NoPilotError
from snakemake_executor_daskjq.journal import events
from snakemake_executor_daskjq.model.outcome import PILOT_ENDS, End, Outcome
from snakemake_executor_daskjq.model.pool import Pool
from snakemake_executor_daskjq.model.request import Outlook, Request
from snakemake_executor_daskjq.model.usage import Usage
from snakemake_executor_daskjq.policy import messages, planner
from snakemake_executor_daskjq.policy.core import UPKEEP_S
from snakemake_executor_daskjq.policy.estimates import KNOWN_JOBS, SURPRISE_S
from snakemake_executor_daskjq.policy.losses import CRASH_BUDGET, LOSS_BUDGET
from snakemake_executor_daskjq.policy.pilots import SUBMISSIONS_A_MINUTE

from .core_player import Player

POOL = Pool("main", "local", cores=2, mem_mb=1000, max_pilots=3)
SLURM = Pool("main", "slurm", cores=2, mem_mb=1000, walltime_s=7200, max_pilots=3)
CRASHED = Ended("NODE_FAIL", Cause.CRASH)


def jobs(count: int, cores: int = 1, runtime_s: int | None = None) -> list[Request]:
    return [Request(f"j{number}", number, "rule", 1, {"cores": cores}, runtime_s) for number in range(count)]


def test_a_job_runs_on_a_pilot_and_is_reported_once() -> None:
    run = Player(POOL)
    run.submit(*jobs(1))
    assert run.requested == ["main-1"]
    run.connect("main-1")
    run.end("j0")
    run.hear(messages.JobEnded("j0", "main-1", Outcome(End.FAILED)))  # says nothing any more
    run.hear(messages.ControllerEnds())
    assert run.reports == [("j0", End.SUCCEEDED, "main-1")]
    assert [event.name for _, event in run.journal] == [
        "job_submitted",
        "planned",
        "pilot_requested",
        "pilot_submitted",
        "pilot_started",
        "job_placed",
        "job_ended",
        "pilot_ended",
    ]


def test_never_more_on_a_pilot_than_it_has() -> None:
    run = Player(POOL)
    run.submit(*jobs(9))
    run.connect("main-1")
    for done in range(9):
        assert 0 < len(run.running) <= 2
        run.end(run.running[0][0])
        assert len(run.reports) == done + 1
    assert sorted(key for key, _, _ in run.reports) == [f"j{i}" for i in range(9)]


def test_a_lost_job_goes_elsewhere_until_its_budget_is_spent() -> None:
    run = Player(POOL)
    run.submit(*jobs(1))
    for serial in range(1, CRASH_BUDGET + 1):
        pilot = f"main-{serial}"
        run.wait(1.0)
        assert pilot in run.requested
        run.connect(pilot)
        assert run.running == [("j0", pilot)]
        run.lose(pilot)
        run.hear(messages.PilotGone(pilot, CRASHED))
    assert run.reports == [("j0", End.LOST, "main-3")]
    ends = run.events(events.JobEnded)
    assert [event.reported for event in ends] == [False, False, True]
    lost = run.events(events.PilotLost)
    assert [event.jobs for event in lost] == [["j0"]] * 3


def test_a_lost_job_starts_elsewhere_only_when_its_pilot_is_known_dead() -> None:
    run = Player(POOL)
    run.submit(*jobs(3))
    run.connect("main-1")
    run.lose("main-1")
    run.wait(1.0)
    run.connect("main-2")
    assert [key for key, _ in run.running] == ["j2"]
    run.wait(100.0)
    assert [key for key, _ in run.running] == ["j2"]
    run.hear(messages.PilotGone("main-1", CRASHED))
    assert len(run.running) == 2
    assert run.buried == [messages.BuryPilot("main-1", "local", "id-main-1")]


def test_a_job_whose_end_is_heard_after_its_pilot_is_gone_is_lost_at_once() -> None:
    run = Player(POOL)
    run.submit(*jobs(1))
    run.connect("main-1")
    run.hear(messages.PilotDisconnected("main-1"), messages.PilotGone("main-1", CRASHED))
    run.end("j0", End.LOST)
    run.wait(1.0)
    run.connect("main-2")
    assert run.running == [("j0", "main-2")]


def test_a_pilot_that_is_told_to_end_gets_no_more_jobs_and_is_no_jobs_fault() -> None:
    run = Player(POOL)
    run.submit(*jobs(1))
    for serial in range(1, CRASH_BUDGET + 2):
        pilot = f"main-{serial}"
        run.wait(1.0)
        run.connect(pilot)
        assert run.running == [("j0", pilot)]
        if serial <= CRASH_BUDGET:
            run.end("j0", End.LOST, PILOT_ENDS)
            assert pilot in run.ended
        else:
            run.end("j0")
    run.hear(messages.ControllerEnds())
    assert run.reports == [("j0", End.SUCCEEDED, f"main-{CRASH_BUDGET + 1}")]
    ends = [event.why for event in run.events(events.PilotEnded)]
    assert ends == ["told to end by the batch system"] * CRASH_BUDGET + ["run ended"]
    assert run.warnings == [
        f"Pilot main-{serial} was told to end by the batch system; its jobs run elsewhere."
        for serial in range(1, CRASH_BUDGET + 1)
    ]


def test_what_ended_a_pilot_for_reasons_unknown_is_no_jobs_fault_before_many() -> None:
    run = Player(Pool("main", "lsf", cores=2, mem_mb=1000, max_pilots=1))
    run.submit(*jobs(1))
    for serial in range(1, LOSS_BUDGET + 1):
        assert run.reports == []
        run.wait(10.0)
        run.connect(f"main-{serial}", host="n1")
        run.lose(f"main-{serial}")
        run.hear(messages.PilotGone(f"main-{serial}", Ended("", Cause.UNKNOWN)))
    assert run.reports == [("j0", End.LOST, f"main-{LOSS_BUDGET}")]
    assert run.events(events.HostExcluded) == []


def test_a_pilot_that_is_lost_when_its_walltime_is_over_is_no_crash() -> None:
    run = Player(SLURM)
    run.submit(*jobs(1))
    run.connect("main-1")
    run.now += 7180
    run.lose("main-1")
    run.hear(messages.PilotGone("main-1", Ended("", Cause.UNKNOWN)))
    assert "Pilot main-1 ended as over its walltime." in run.told


def test_before_its_last_try_a_suspect_gets_a_pilot_of_its_own() -> None:
    run = Player(Pool("main", "local", cores=2, mem_mb=1000, max_pilots=1))
    run.submit(*jobs(2))
    run.connect("main-1")
    for tries in range(1, CRASH_BUDGET):
        run.end("j0", End.LOST, f"the launcher is gone {tries}")
    assert run.running == [("j1", "main-1")]  # it waits until both cores are free
    run.end("j1")
    assert run.running == [("j0", "main-1")]
    run.end("j0", End.LOST, "the launcher is gone again")
    assert run.reports == [("j1", End.SUCCEEDED, "main-1"), ("j0", End.LOST, "main-1")]


def test_hopeless_words_give_up_at_once() -> None:
    run = Player(POOL)
    run.submit(*jobs(1))
    run.hear(messages.PilotStartFailed("main-1", "sbatch: error: invalid partition specified: nosuch"))
    run.wait(1.0)
    (error,) = run.errors
    assert isinstance(error, NoPilotError)
    assert "invalid partition specified: nosuch" in str(error)
    assert len(run.warnings) == 1


def test_a_start_that_fails_is_tried_again_later_and_told_with_one_full_stop() -> None:
    run = Player(POOL)
    run.submit(*jobs(1))
    run.hear(messages.PilotStartFailed("main-1", "Unable to run job: try later Exiting."))
    assert run.requested == ["main-1"]
    assert run.warnings == ["Pilot main-1 could not be started: Unable to run job: try later Exiting. Next try in 1 s."]
    assert run.ended == ["main-1"]
    run.wait(2.0)
    assert run.requested == ["main-1", "main-2"]


def test_a_pilot_that_comes_late_is_used() -> None:
    run = Player(POOL)
    run.submit(*jobs(4, runtime_s=3600))
    assert len(run.requested) == 2
    run.connect("main-1")
    assert len(run.running) == 2
    run.connect("main-2")
    assert [pilot for _, pilot in run.running] == ["main-1"] * 2 + ["main-2"] * 2


def test_short_jobs_keep_one_more_of_their_kind_at_the_pilot() -> None:
    run = Player(POOL)
    run.submit(*jobs(20))
    run.connect("main-1")
    assert len(run.running) == 2  # nothing is known yet of how long they take
    most = 0
    for done in range(20):
        most = max(most, len(run.running))
        assert len(run.running) <= 4  # one that runs and one ahead for each of two cores
        run.end(run.running[0][0], wall_s=0.1)
        assert len(run.reports) == done + 1
    assert sorted(key for key, _, _ in run.reports) == sorted(f"j{i}" for i in range(20))
    assert most >= 3


def test_jobs_of_milliseconds_are_sent_a_few_at_a_time() -> None:
    """Each message has a cost of its own."""
    run = Player(POOL)
    run.submit(*jobs(60))
    run.connect("main-1")
    waiting, sent = 58, []
    while run.running:
        run.end(run.running[0][0], wall_s=0.001)
        left = len(run.core._ready)
        sent.append(waiting - left)
        waiting = left
    assert len(run.reports) == 60
    steady = [count for count in sent[KNOWN_JOBS : KNOWN_JOBS + 30] if count]
    assert steady
    assert all(count >= 4 for count in steady)


def test_24_jobs_of_a_second_with_a_pilot_that_joins_after_one() -> None:
    """Two slots first, then four: 7 s is ideal."""
    run = Player(Pool("main", "local", cores=4, mem_mb=1000, max_pilots=2))
    run.submit(*jobs(24, cores=2))
    assert len(run.requested) == 2
    run.connect("main-1")
    seconds = 0
    while len(run.reports) < 24:
        assert len(run.running) == min(2 if seconds < 1 else 4, 24 - len(run.reports))
        run.now += 1.0
        seconds += 1
        if seconds == 1:
            run.connect("main-2")
            ending = [key for key, pilot in run.running if pilot == "main-1"]
        else:
            ending = [key for key, _ in run.running]
        outcome = Outcome(End.SUCCEEDED, exit_status=0, started_at=run.now - 1.0, ended_at=run.now)
        ended = [messages.JobEnded(key, pilot, outcome) for key, pilot in run.running if key in ending]
        run.running = [(key, pilot) for key, pilot in run.running if key not in ending]
        run.hear(*ended)
    assert seconds == 7
    placed = run.events(events.JobPlaced)
    assert {event.pilot for event in placed} == {"main-1", "main-2"}


def test_with_several_pools_the_program_decides_and_its_answer_is_requested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "SOLVE_S", 60.0)  # the answer counts here, also on a busy machine
    cpu = Pool("cpu", "slurm", cores=8, mem_mb=8000, cost_per_hour=6.0)
    mem = Pool("mem", "slurm", cores=2, mem_mb=64000, cost_per_hour=6.0)
    both = Pool("both", "slurm", cores=8, mem_mb=64000, cost_per_hour=8.0)
    run = Player(cpu, mem, both)
    amounts = [{"cores": 1, "mem_mb": 100}] * 6 + [{"cores": 1, "mem_mb": 30000}]
    run.submit(*(Request(f"j{i}", i, "rule", 1, wanted, runtime_s=3600) for i, wanted in enumerate(amounts)))
    (planned,) = run.events(events.Planned)
    assert (planned.more, planned.method) == ({"both": 1}, "program")
    assert planned.seconds > 0
    assert run.requested == ["both-1"]


def test_a_rule_that_states_no_memory_gets_its_earlier_peak_set_aside() -> None:
    run = Player(POOL, history={"rule": Usage(1, 5.0, 5.0, 480.0, 1.0)})
    run.submit(*jobs(2))
    run.submit(Request("s", 9, "rule", 1, {"cores": 1, "mem_mb": 100}))
    run.connect("main-1")
    asked = [event.amounts for event in run.events(events.JobSubmitted)]
    assert asked == [{"cores": 1, "mem_mb": 600}, {"cores": 1, "mem_mb": 600}, {"cores": 1, "mem_mb": 100}]
    assert sorted(key for key, _ in run.running) == ["j0", "s"]  # 1000 MB hold one of 600 and one of 100


def test_no_more_than_so_many_pilots_are_requested_within_a_minute() -> None:
    run = Player(*(Pool(name, "slurm", cores=1, mem_mb=1000, max_pilots=100) for name in ("one", "two")))
    for name in ("one", "two"):
        run.submit(*(Request(f"{name}{i}", i, "r", 1, {"cores": 1}, 3600, pools=(name,)) for i in range(40)))
    run.wait(59.0)
    assert len(run.requested) == SUBMISSIONS_A_MINUTE
    run.wait(2.0)
    assert len(run.requested) > SUBMISSIONS_A_MINUTE


def test_a_job_of_another_shape_does_not_give_its_room_to_one_ahead() -> None:
    """Short one-core jobs with one more each at the pilot; then a job of both cores gets exactly two."""
    run = Player(POOL)
    run.submit(*jobs(12))
    run.connect("main-1")
    while len(run.reports) < 13:
        if len(run.reports) == 4:
            run.submit(Request("wide", 99, "wide", 1, {"cores": 2}))
        room = run.core.pilots["main-1"].room
        assert room is not None
        assert sum(amounts["cores"] for _, amounts, _ in room.bookings.values()) <= 2
        run.end(run.running[0][0], wall_s=0.1)
    room = run.core.pilots["main-1"].room
    assert room is not None
    assert room.free == {"cores": 2, "mem_mb": 1000}
    assert len(run.reports) == 13


def test_hosts_on_which_pilots_crash_get_no_more_of_them() -> None:
    run = Player(SLURM)
    run.submit(*jobs(6, runtime_s=3600))
    for pilot, host in (("main-1", "good"), ("main-2", "bad"), ("main-3", "bad")):
        run.connect(pilot, host)
    for pilot in ("main-2", "main-3"):
        run.lose(pilot)
        run.hear(messages.PilotGone(pilot, CRASHED))
        run.wait(1.0)
    assert "main-5" in run.requested
    assert any("gets no more" in warning for warning in run.warnings)
    run.connect("main-4", "bad")  # it was in the queue already
    assert "main-4" in run.ended
    run.wait(1.0)
    assert run.excluded[run.requested[-1]] == ("bad",)
    excluded = run.events(events.HostExcluded)
    assert [(event.host, event.crashes) for event in excluded] == [("bad", 2)]
    placed = [event.pilot for event in run.events(events.JobPlaced)]
    assert "main-4" not in placed


def test_a_pilot_that_nobody_expects_any_more_is_ended() -> None:
    run = Player(POOL)
    run.submit(*jobs(1))
    run.hear(messages.PilotStartFailed("main-1", "the submit command gave no answer"))
    run.ended.clear()
    run.hear(messages.PilotConnected("main-1", "host"), messages.PilotConnected("main-99", "host"))
    assert run.ended == ["main-1", "main-99"]
    assert run.running == []


def test_a_pilot_that_was_granted_too_little_is_told_once_a_pool() -> None:
    run = Player(Pool("main", "sge", cores=2, mem_mb=1000))
    run.submit(*jobs(1))
    run.hear(messages.PilotGranted("main-1", 2))
    assert run.warnings == []
    run.hear(messages.PilotGranted("main-1", 1), messages.PilotGranted("main-1", 1), messages.PilotGranted("no-1", 1))
    (warning,) = run.warnings
    assert warning.startswith("Pilot main-1 was granted 1 core, but its pool main offers 2 to jobs")
    assert warning.endswith("lists them).")


def test_idle_pilots_end_and_local_ones_stay() -> None:
    for pool, ended in ((SLURM, ["main-1"]), (POOL, [])):
        run = Player(pool)
        run.hear(messages.OutlookLearned(Outlook({"rule": 2}, {})))
        run.submit(*jobs(1))
        run.connect("main-1")
        run.end("j0")
        run.wait(pool.idle_timeout_s - 1)
        assert run.ended == []
        run.wait(2.0)
        assert run.ended == ended


def test_a_pilot_that_the_queue_keeps_is_told_with_the_reason_and_one_that_is_broken_is_replaced() -> None:
    run = Player(SLURM)
    run.submit(*jobs(1))
    run.hear(messages.PilotSubmitted("main-1", "17"))
    run.wait(3.0)
    assert run.asked == [messages.AskBatch("slurm", ("17",))]
    run.hear(messages.BatchAnswered("slurm", {"17": Listed(ListedState.QUEUED, "Priority")}))
    assert run.told[-1] == "Pilot main-1 waits in the queue: Priority."
    run.wait(60.0)
    run.hear(messages.BatchAnswered("slurm", {"17": Listed(ListedState.BROKEN, "error: can't chdir to /nowhere")}))
    assert run.ended == ["main-1"]
    words = "batch job 17 failed to start: error: can't chdir to /nowhere"
    assert f"could not be started: {words}." in run.warnings[-1]
    failed = [event.words for event in run.events(events.PilotFailed)]
    assert failed == [words]
    run.wait(2.0)
    assert run.requested == ["main-1", "main-2"]


def test_a_pilot_that_the_queue_has_lost_is_looked_for_in_its_log() -> None:
    run = Player(SLURM)
    run.submit(*jobs(1))
    run.hear(messages.PilotSubmitted("main-1", "17"))
    for _ in range(2):
        run.wait(40.0)
        run.hear(messages.BatchAnswered("slurm", {}))
    assert run.others == [messages.ReadPilotLog("main-1", "17")]


def test_what_the_user_is_told_ends_with_the_counts() -> None:
    run = Player(SLURM)
    run.submit(*jobs(3))
    assert run.told == [
        "Requesting 1 pilot of pool main. (pilots: 0 running, 1 queued; jobs: 0 running, 3 waiting, rule for pilots of "
        "pool main in the queue)"
    ]
    run.connect("main-1")
    assert run.told[-1] == (
        "Pilot main-1 runs on host. (pilots: 1 running, 0 queued; jobs: 2 running, 1 waiting, rule for cores in pool "
        "main)"
    )


def test_pilots_are_thought_about_at_most_once_in_a_while() -> None:
    run = Player(SLURM)
    run.submit(*jobs(1))
    run.submit(*[Request(f"k{i}", i, "rule", 1, {"cores": 2}, 3600) for i in range(9)])
    assert len(run.requested) == 1
    run.wait(UPKEEP_S)
    assert len(run.requested) == 3


def test_after_its_end_a_run_wants_nothing_any_more() -> None:
    run = Player(POOL)
    run.submit(*jobs(2))
    run.connect("main-1")
    run.hear(messages.ControllerEnds())
    before = len(run.journal)
    run.end("j0")
    run.submit(Request("late", 9, "rule", 1, {"cores": 1}))
    assert (run.reports, len(run.journal)) == ([], before)
    assert run.core.waiting() == []


def test_jobs_that_are_withdrawn_never_begin_and_those_that_had_begun_go_on() -> None:
    run = Player(POOL)
    run.submit(*jobs(6))
    run.connect("main-1")
    begun = [key for key, _ in run.running]
    run.hear(messages.JobsWithdrawn())
    assert begun
    assert run.reports == [(f"j{i}", End.WITHDRAWN, "") for i in range(6) if f"j{i}" not in begun]
    for key in begun:
        run.end(key)
    assert not run.running
    assert [key for key, end, _ in run.reports if end is End.SUCCEEDED] == begun
    run.submit(Request("another", 9, "rule", 1, {"cores": 1}))
    assert [key for key, _ in run.running] == ["another"]


def test_a_job_that_was_lost_is_none_that_has_not_begun() -> None:
    run = Player(POOL)
    run.submit(*jobs(1))
    run.connect("main-1")
    run.end("j0", End.LOST, "the launcher is gone")
    run.hear(messages.JobsWithdrawn())
    assert run.reports == []
    run.end("j0")
    assert run.reports == [("j0", End.SUCCEEDED, "main-1")]


def test_nothing_waits_behind_a_job_that_has_run_for_long() -> None:
    run = Player(POOL)
    run.submit(*jobs(200))
    run.connect("main-1")
    for _ in range(30):
        run.end(run.running[0][0], wall_s=0.01)
    beside = len(run.running) - POOL.cores
    assert beside > 0
    run.wait(SURPRISE_S)
    (job, *_) = run.running
    before = len(run.running)
    run.end(job[0], wall_s=0.01)  # the others have run for a second by now
    assert len(run.running) < before
