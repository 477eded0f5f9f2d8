"""The launchers of a pilot, without a pilot: which job gets which, and when one is replaced."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest

from snakemake_executor_daskjq.launcher import processes
from snakemake_executor_daskjq.model.outcome import PILOT_ENDS, End, Outcome
from snakemake_executor_daskjq.model.request import Launch, WarmStart
from snakemake_executor_daskjq.pilot import contexts
from snakemake_executor_daskjq.pilot.contexts import Launchers
from snakemake_executor_daskjq.pilot.grants import Grants
from snakemake_executor_daskjq.pilot.jobs import run_granted

from ..awaiting import appears, gone, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="process control needs Linux")

# The shell's parent is the job, and the job's the host.
SNAKEFILE = """
    rule a:
        output: "{i}"
        shell: "echo {config[who]} $(cut -d' ' -f4 /proc/$PPID/stat) > {output}.host; {config[then]}; touch {output}"
"""
ARGUMENTS = (
    *("--force", "--nolock", "--retries", "0", "--scheduler", "greedy", "--mode", "remote", "--no-hooks"),
    *("--max-inventory-time", "0", "--ignore-incomplete", "--default-resources", "tmpdir=system_tmpdir"),
    *("--quiet", "progress", "rules", "host"),
)


WARM = WarmStart.WORKFLOW


def launch(folder: Path, target: str, who: str = "one", then: str = "true", level: WarmStart = WARM) -> Launch:
    if not (folder / "Snakefile").exists():  # one that is written anew is parsed anew
        (folder / "Snakefile").write_text(textwrap.dedent(SNAKEFILE))
    cache = folder / "snakemake" / "source-cache" / "run"
    common = ("--snakefile", str(folder / "Snakefile"), "--runtime-source-cache-path", str(cache), *ARGUMENTS)
    config = ("--config", f"who={who}", f"then={then}")
    own = ("--target-jobs", f"a:i={target}", "--allowed-rules", "a", "--cores", "1", "--force-use-threads")
    log = folder / f"{target}.log"
    return Launch(
        target, (*common, *config), (*own, "--attempt", "1"), str(folder), str(log), sys.executable,
        warm_start=level,
    )  # fmt: skip


async def run(hosts: Launchers, job: Launch) -> tuple[str, int]:
    """What the job was told, and its host."""
    outcome = await hosts.run(job)
    assert outcome.end is End.SUCCEEDED, Path(job.log_path).read_text()
    assert outcome.warm_start is job.warm_start, outcome.colder_because
    return told(job)


def told(job: Launch) -> tuple[str, int]:
    who, host = (Path(job.cwd) / f"{job.key}.host").read_text().split()
    return who, int(host)


def hosts_of(folder: Path, level: WarmStart, count: int) -> list[int]:
    async def body() -> list[int]:
        hosts = Launchers()
        try:
            return [(await run(hosts, launch(folder, str(i), level=level)))[1] for i in range(count)]
        finally:
            await hosts.stop(0.2)

    found = asyncio.run(asyncio.wait_for(body(), 60))
    for pid in set(found):
        asyncio.run(asyncio.wait_for(gone(pid), 10))
    return found


def test_a_host_that_is_being_started_ends_with_its_pilot_and_no_job_gets_another(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    before = set(processes.children_of(os.getpid()))

    async def body() -> list[Outcome]:
        hosts, grants = Launchers(), Grants(scratch_folder=str(scratch))
        jobs = [asyncio.create_task(run_granted(launch(tmp_path, name), hosts, grants)) for name in "ab"]
        await until(lambda: list(scratch.glob("daskjq-*/rehearsal-*")))
        await hosts.stop(0.2)
        grants.close()
        return [*[await job for job in jobs], await run_granted(launch(tmp_path, "c"), hosts, grants)]

    outcomes = asyncio.run(asyncio.wait_for(body(), 60))
    assert {(outcome.end, outcome.detail) for outcome in outcomes} == {(End.LOST, PILOT_ENDS)}
    assert set(processes.children_of(os.getpid())) <= before
    assert list(scratch.iterdir()) == []


both_levels = pytest.mark.parametrize("level", [WarmStart.OFF, WarmStart.WORKFLOW])


@both_levels
def test_a_host_is_replaced_after_a_number_of_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: WarmStart
) -> None:
    monkeypatch.setattr(contexts, "MAX_JOBS", 2)
    first, second, third, fourth = hosts_of(tmp_path, level, 4)
    assert first == second != third == fourth


@both_levels
def test_a_host_is_replaced_when_it_has_grown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: WarmStart
) -> None:
    assert len(set(hosts_of(tmp_path, level, 2))) == 1
    monkeypatch.setattr(contexts, "MAX_GROWTH_MB", -1e9)
    monkeypatch.setattr(contexts, "MEASURE_EVERY", 1)
    assert len(set(hosts_of(tmp_path, level, 2))) == 2


@both_levels
def test_an_idle_host_ends_and_the_next_job_gets_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: WarmStart
) -> None:
    monkeypatch.setattr(contexts, "IDLE_S", 0.05)

    async def body() -> None:
        hosts = Launchers()
        _, first = await run(hosts, launch(tmp_path, "0", level=level))
        await gone(first)
        _, second = await run(hosts, launch(tmp_path, "1", level=level))
        assert second != first
        await hosts.stop(0.2)

    asyncio.run(asyncio.wait_for(body(), 60))


def test_two_workflows_run_side_by_side_and_one_hosts_death_is_not_the_others(tmp_path: Path) -> None:
    until_go = "while [ ! -e go ]; do sleep 0.02; done"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    held, killed = launch(tmp_path / "one", "a", "one", until_go), launch(tmp_path / "two", "b", "two", until_go)

    async def body() -> tuple[Outcome, Outcome]:
        hosts = Launchers()
        running = [asyncio.create_task(hosts.run(job)) for job in (held, killed)]
        for job in (held, killed):
            await appears(Path(job.cwd) / f"{job.key}.host")
        assert told(held)[0] == "one"
        assert told(killed)[0] == "two"
        assert told(held)[1] != told(killed)[1]
        os.kill(told(killed)[1], signal.SIGKILL)
        lost = await running[1]
        (tmp_path / "one" / "go").touch()
        kept = await running[0]
        (tmp_path / "two" / "go").touch()
        again = await hosts.run(killed)
        await hosts.stop(0.2)
        assert again.end is End.SUCCEEDED
        return kept, lost

    kept, lost = asyncio.run(asyncio.wait_for(body(), 90))
    assert (kept.end, lost.end) == (End.SUCCEEDED, End.LOST)


def test_a_job_that_cannot_be_prepared_starts_colder_and_its_neighbours_stay(tmp_path: Path) -> None:
    """Snakemake's own parser raises what it likes for a value with a comma."""
    (tmp_path / "held").mkdir()

    async def body() -> tuple[Outcome, Outcome, tuple[str, int], tuple[str, int]]:
        hosts = Launchers()
        first = await run(hosts, launch(tmp_path, "0"))
        held = asyncio.create_task(hosts.run(launch(tmp_path, "1", then="true")))
        unfit = await hosts.run(replace(launch(tmp_path, "2"), job_argv=("--target-jobs", "a:i=c,d", "--cores", "1")))
        neighbour = await held
        last = await run(hosts, launch(tmp_path, "3"))
        await hosts.stop(0.2)
        return unfit, neighbour, first, last

    unfit, neighbour, first, last = asyncio.run(asyncio.wait_for(body(), 90))
    assert (unfit.end, unfit.warm_start) == (End.FAILED, WarmStart.IMPORT)
    assert "it does not take --target-jobs a:i=c,d" in unfit.colder_because
    assert "Invalid target wildcards definition" in unfit.log_tail
    assert neighbour.end is End.SUCCEEDED
    assert first == last


def test_a_host_that_crashes_says_why(tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text(
        textwrap.dedent(SNAKEFILE) + "sys.modules['__main__'].ForkServer._start = lambda *_: 1 / 0"
    )

    async def body() -> Outcome:
        hosts = Launchers()
        outcome = await hosts.run(launch(tmp_path, "0"))
        await hosts.stop(0.2)
        return outcome

    outcome = asyncio.run(asyncio.wait_for(body(), 60))
    assert (outcome.end, outcome.detail) == (End.LOST, "the launcher is gone (ZeroDivisionError('division by zero'))")


def test_a_parse_that_fails_is_tried_again_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken_if = "import os\nif os.path.exists('broken'): raise ValueError\n"
    (tmp_path / "Snakefile").write_text(broken_if + textwrap.dedent(SNAKEFILE))
    (tmp_path / "broken").touch()

    async def body() -> list[Outcome]:
        hosts = Launchers()
        outcomes = [await hosts.run(launch(tmp_path, "0"))]
        (tmp_path / "broken").unlink()
        outcomes.append(await hosts.run(launch(tmp_path, "1")))
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: time.monotonic() + contexts.REFUSAL_S)
        outcomes.append(await hosts.run(launch(tmp_path, "2")))
        await hosts.stop(0.2)
        return outcomes

    broken, refused, served = asyncio.run(asyncio.wait_for(body(), 90))
    assert (broken.end, broken.warm_start) == (End.FAILED, WarmStart.IMPORT)
    assert (refused.end, refused.warm_start) == (End.SUCCEEDED, WarmStart.IMPORT)
    assert broken.colder_because == refused.colder_because == "the Snakefile could not be parsed"
    assert (served.end, served.warm_start, served.colder_because) == (End.SUCCEEDED, WarmStart.WORKFLOW, "")


def test_a_parse_that_is_out_of_date_now_and_then_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contexts, "JOBS_WORTH_A_PARSE", 2)

    async def body(changed_after: int) -> list[WarmStart]:
        hosts, levels = Launchers(), []
        for i in range(8):
            if i % changed_after == 0:
                (tmp_path / "Snakefile").write_text(textwrap.dedent(SNAKEFILE) + f"# {i}")
            levels.append((await hosts.run(launch(tmp_path, str(i)))).warm_start)
        await hosts.stop(0.2)
        return levels

    assert asyncio.run(asyncio.wait_for(body(2), 90)) == [WarmStart.WORKFLOW] * 8
    assert asyncio.run(asyncio.wait_for(body(1), 90)) == [WarmStart.WORKFLOW] * 2 + [WarmStart.IMPORT] * 6


HANGS = """
import os
if os.getppid() == int(open("pilot").read()):  # in the fork server itself; a job is a child of that
    open("lock").read()  # as a lock that somebody holds, or a network file system that does not answer
"""


def test_a_parse_that_hangs_is_given_up_and_jobs_start_colder(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "lock")
    (tmp_path / "pilot").write_text(str(os.getpid()))
    (tmp_path / "Snakefile").write_text(HANGS + textwrap.dedent(SNAKEFILE))
    before = set(processes.children_of(os.getpid()))

    async def body() -> list[Outcome]:
        hosts = Launchers()
        jobs = [replace(launch(tmp_path, str(i)), warm_up_s=15.0) for i in range(3)]
        outcomes = await asyncio.gather(*(hosts.run(job) for job in jobs[:2]))
        outcomes.append(await hosts.run(jobs[2]))  # nobody waits for a second time
        assert len(set(processes.children_of(os.getpid())) - before) == 1  # the hanging one has gone
        await hosts.stop(0.2)
        return outcomes

    began = time.monotonic()
    outcomes = asyncio.run(asyncio.wait_for(body(), 90))
    assert time.monotonic() - began >= 15
    assert {(outcome.end, outcome.warm_start) for outcome in outcomes} == {(End.SUCCEEDED, WarmStart.IMPORT)}
    assert {outcome.colder_because for outcome in outcomes} == {
        "the Snakefile was not parsed within 15 s (--daskjq-warm-up-timeout)"
    }
