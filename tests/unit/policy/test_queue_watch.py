"""When batch systems are asked about pending pilots, and what their answers say."""

from __future__ import annotations

from snakemake_executor_daskjq.batch.base import Listed, ListedState
from snakemake_executor_daskjq.model.pool import Pool
from snakemake_executor_daskjq.policy.pilot_life import PilotLife
from snakemake_executor_daskjq.policy.queue_watch import FIRST_QUERY_S, LONGEST_QUERY_S, News, Noted, QueueWatch

POOL = Pool("main", "slurm", cores=1, mem_mb=1)
RUNNING = Listed(ListedState.RUNNING)
HELD = Listed(ListedState.HELD, "JobHeldUser")


def pilot(name: str, batch_id: str, system: str = "slurm") -> PilotLife:
    life = PilotLife(name, Pool("main", system, cores=1, mem_mb=1), 0.0)
    life.submitted(batch_id)
    return life


def queued(reason: str = "") -> Listed:
    return Listed(ListedState.QUEUED, reason)


def watch(pilots: list[PilotLife], *answers: dict[str, Listed] | None) -> list[Noted]:
    """What is told of `pilots` while the batch system gives `answers`."""
    asks, noted = QueueWatch(), []
    asks.pilot_submitted(0.0)
    for answer in answers:
        now = asks.due
        asks.queries(pilots, now)
        for one in asks.answered("slurm", answer, pilots, now):
            noted.append(one)
            next(p for p in pilots if p.name == one.pilot).waits(one.words)
    return noted


def test_a_pilot_that_is_missing_twice_has_died_and_is_told_once() -> None:
    pilots = [pilot("a", "1"), pilot("b", "2")]
    assert watch(pilots, *[{"2": RUNNING}] * 4) == [Noted("a", News.MISSING)]


def test_no_answer_says_nothing_about_pilots() -> None:
    assert watch([pilot("a", "1")], None, None, None, {"1": RUNNING}) == []


def test_a_reason_is_told_when_it_changes() -> None:
    answers = [queued("Priority"), queued("Priority"), queued("QOSMaxJobsPerUserLimit"), RUNNING]
    assert watch([pilot("a", "1")], *({"1": answer} for answer in answers)) == [
        Noted("a", News.WAITS, "Priority"),
        Noted("a", News.WAITS, "QOSMaxJobsPerUserLimit"),
        Noted("a", News.WAITS, ""),
    ]


def test_what_is_free_at_the_moment_is_no_new_reason() -> None:
    reasons = [f"Not Running: Insufficient amount of resource: mem (R: 8gb A: {free}kb)" for free in (0, 9)]
    told = watch([pilot("a", "1")], *({"1": queued(reason)} for reason in reasons))
    assert told == [Noted("a", News.WAITS, reasons[0])]


def test_a_held_pilot_is_told_as_held_and_once_and_its_release_takes_that_back() -> None:
    answers = [HELD, HELD, HELD, queued(), queued()]
    assert watch([pilot("a", "1")], *({"1": answer} for answer in answers)) == [
        Noted("a", News.HELD, "JobHeldUser"),
        Noted("a", News.WAITS, ""),
    ]


def test_one_that_cannot_start_is_told_once() -> None:
    broken = Listed(ListedState.BROKEN, "can't chdir to /nowhere")
    assert watch([pilot("a", "1")], {"1": broken}, {"1": broken}) == [Noted("a", News.BROKEN, broken.words)]


def test_a_listing_that_leaves_a_pilot_out_now_and_then_is_no_death() -> None:
    assert watch([pilot("a", "1")], {"1": RUNNING}, {}, {"1": RUNNING}, {}, {"1": RUNNING}) == []


def test_one_query_a_system_asks_about_all_of_its_pilots_ever_more_seldom_and_none_once_all_have_connected() -> None:
    asks = QueueWatch()
    asks.pilot_submitted(100.0)
    pilots = [pilot("a", "1"), pilot("b", "2"), pilot("c", "9", "pbs")]
    assert asks.queries(pilots, 100.0) == {}
    assert asks.due == 100.0 + FIRST_QUERY_S
    assert asks.queries(pilots, asks.due) == {"slurm": ("1", "2"), "pbs": ("9",)}
    assert asks.queries(pilots, 500.0) == {}  # not before both have answered
    asks.answered("slurm", {}, pilots, 103.0)
    assert asks.queries(pilots, 500.0) == {}
    asks.answered("pbs", None, pilots, 104.0)
    pauses = [asks.due - 104.0]
    for _ in range(12):
        now = asks.due
        asks.queries(pilots[:1], now)
        asks.answered("slurm", {"1": queued()}, pilots[:1], now)
        pauses.append(asks.due - now)
    assert sorted(pauses) == pauses
    assert pauses[-1] == LONGEST_QUERY_S
    assert asks.queries([], asks.due) == {}
    assert asks.due == float("inf")
    asks.pilot_submitted(900.0)
    assert asks.due == 900.0 + FIRST_QUERY_S
