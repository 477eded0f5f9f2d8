"""The launcher with real processes: starting, reaping, and ending everything, however it goes down."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from snakemake_executor_daskjq.launcher import launcher as launcher_module
from snakemake_executor_daskjq.launcher import processes
from snakemake_executor_daskjq.launcher.launcher import Child, Launcher
from snakemake_executor_daskjq.launcher.watch import Bounds
from snakemake_executor_daskjq.model.outcome import End, Outcome
from snakemake_executor_daskjq.model.request import Command, Grant, Launch, Limits, WarmStart
from snakemake_executor_daskjq.pilot import launcher_client as client
from snakemake_executor_daskjq.pilot.contexts import Launchers
from snakemake_executor_daskjq.pilot.grants import Grants
from snakemake_executor_daskjq.pilot.jobs import run_granted
from snakemake_executor_daskjq.pilot.launcher_client import LauncherHandle, _outcome

from ...awaiting import appears, gone, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="process control needs Linux")


@asynccontextmanager
async def host() -> AsyncIterator[LauncherHandle]:
    running = await LauncherHandle.start()
    try:
        yield running
    finally:
        await running.stop(0.2)
        assert running._process.poll() is not None


def shell(tmp_path: Path, script: str, key: str = "job", **env: str) -> Launch:
    """A launch whose precommand is the whole job: `python -m snakemake` becomes `true -m snakemake`."""
    return Launch(key, (), (), str(tmp_path), str(tmp_path / f"{key}.log"), "true", precommand=script, env=env)


def direct(tmp_path: Path, script: str, key: str = "job", *, benchmark: bool = False) -> Launch:
    """A launch at the level `direct`."""
    command = Command((("/bin/sh", "-c", script),), str(tmp_path), benchmark=benchmark)
    log, grant = str(tmp_path / f"{key}.log"), Grant(tmpdir=str(tmp_path))
    return Launch(key, (), (), "", log, "", warm_start=WarmStart.DIRECT, command=command, grant=grant)


def run(launch: Launch) -> Outcome:
    async def body() -> Outcome:
        async with host() as running:
            return await asyncio.wait_for(running.run(launch, launch.warm_start), 20)

    return asyncio.run(body())


def test_a_job_that_succeeds_is_measured(tmp_path: Path) -> None:
    outcome = run(shell(tmp_path, "i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done; sleep 0.2"))
    assert (outcome.end, outcome.exit_status) == (End.SUCCEEDED, 0)
    assert outcome.wall_s >= 0.2
    assert outcome.cpu_s > 0
    assert outcome.peak_mem_mb > 0


def test_both_streams_go_to_the_log_and_stdin_is_empty(tmp_path: Path) -> None:
    run(shell(tmp_path, "cat; echo out; echo err >&2"))
    assert (tmp_path / "job.log").read_text() == "out\nerr\n"


def test_exit_status_and_log_of_a_failure(tmp_path: Path) -> None:
    outcome = run(shell(tmp_path, "echo why; exit 7"))
    assert (outcome.end, outcome.exit_status, outcome.log_tail) == (End.FAILED, 7, "why")


def test_a_signal_is_named(tmp_path: Path) -> None:
    outcome = run(shell(tmp_path, "kill -SEGV $$"))
    assert (outcome.end, outcome.reason()) == (End.FAILED, "ended by SIGSEGV")


def test_a_host_whose_job_settles_is_not_idle_and_its_retirement_is_not_the_pilots_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "SETTLE_S", 1.0)

    async def body() -> Outcome:
        async with host() as running:
            job = asyncio.create_task(running.run(shell(tmp_path, "echo $$ > pid; exit 7")))
            await gone(int(await appears(tmp_path / "pid")))
            await asyncio.sleep(0.3)  # its end has been told to the pilot, but not to whoever asked for it
            assert not job.done()
            assert not running.idle
            await running.stop(0.0, pilot_ends=False)
            return await asyncio.wait_for(job, 20)

    outcome = asyncio.run(body())
    assert (outcome.end, outcome.exit_status) == (End.FAILED, 7)


def test_environment_and_working_directory(tmp_path: Path) -> None:
    secret = "a 'b' \"c\" $d\n"
    run(shell(tmp_path, 'pwd; printf %s "$SECRET"', SECRET=secret))
    assert (tmp_path / "job.log").read_text() == f"{tmp_path}\n{secret}"


def test_a_working_directory_that_is_gone_is_told(tmp_path: Path) -> None:
    launch = Launch("job", (), (), str(tmp_path / "none"), str(tmp_path / "job.log"), sys.executable)
    outcome = run(launch)
    assert outcome.exit_status == 127
    assert "could not be started" in outcome.log_tail


@pytest.mark.parametrize("start", [shell, direct])
def test_the_child_has_default_signals_and_no_inherited_descriptors(
    tmp_path: Path, start: Callable[[Path, str], Launch]
) -> None:
    run(start(tmp_path, "grep -E 'SigIgn|SigBlk' /proc/self/status; ls /proc/self/fd"))
    lines = (tmp_path / "job.log").read_text().splitlines()
    masks = [int(line.split()[1], 16) for line in lines if line.startswith("Sig")]
    reset = ("CHLD", "INT", "TERM", "HUP", "PIPE", "XFSZ")  # others may be ignored above the tests, as SIGQUIT is
    assert not [name for name in reset for mask in masks if mask & 1 << (signal.Signals[f"SIG{name}"] - 1)]
    assert lines[-4:] == ["0", "1", "2", "3"]  # the last is the folder that ls lists


def test_without_a_guard_children_are_forked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text("import os\ndel os.memfd_create\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hook"), prepend=os.pathsep)

    async def body() -> Outcome:
        async with host() as running:
            return await running.run(direct(tmp_path, "ls -v /proc/self/fd; exit 3"), WarmStart.DIRECT)

    outcome = asyncio.run(asyncio.wait_for(body(), 20))
    assert (outcome.end, outcome.exit_status) == (End.FAILED, 3)
    assert (tmp_path / "job.log").read_text().split() == ["0", "1", "2", "3"]


def test_what_a_job_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    async def body() -> None:
        async with host() as running:
            script = "sleep 300 & echo $! > same; setsid sh -c 'echo $$ > other; exec sleep 300' & "
            script += "while [ ! -s other ]; do sleep 0.01; done"
            assert (await running.run(shell(tmp_path, script))).end is End.SUCCEEDED
            for name in ("same", "other"):
                await asyncio.wait_for(gone(int(await appears(tmp_path / name))), 10)

    asyncio.run(body())


def limited(launch: Launch, limits: Limits = Limits.ENFORCE, runtime_s: int | None = None, **amounts: int) -> Launch:
    return replace(launch, amounts=amounts, runtime_s=runtime_s, limits=limits)


HUNGRY = f"{sys.executable} -c 'data = bytearray(300_000_000); import time; time.sleep({{}})'"


def test_a_job_over_its_memory_is_ended_with_all_its_processes_and_neighbours_go_on(tmp_path: Path) -> None:
    hungry = f"setsid {HUNGRY.format(300)} & echo $! > pid; wait"

    async def body() -> tuple[Outcome, Outcome]:
        async with host() as running:
            jobs = [
                running.run(limited(shell(tmp_path, hungry, "hungry"), mem_mb=100)),
                running.run(limited(shell(tmp_path, "while [ ! -e go ]; do sleep 0.05; done", "other"), mem_mb=100)),
            ]
            first, second = map(asyncio.ensure_future, jobs)
            outcome = await asyncio.wait_for(first, 20)
            await asyncio.wait_for(gone(int((tmp_path / "pid").read_text())), 10)
            (tmp_path / "go").touch()
            return outcome, await asyncio.wait_for(second, 20)

    outcome, neighbour = asyncio.run(body())
    assert outcome.end is End.OUT_OF_MEMORY
    assert re.fullmatch(r"out of memory: it used at least \d{3} MB, more than its mem_mb of 100", outcome.reason())
    assert outcome.peak_mem_mb > 100
    assert neighbour.end is End.SUCCEEDED


def test_a_job_that_will_not_go_when_it_is_over_its_runtime_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "RUNTIME_SLACK_S", 0.0)
    outcome = run(limited(shell(tmp_path, "trap '' TERM; while :; do sleep 0.1; done"), runtime_s=1))
    assert (outcome.end, outcome.signal_number) == (End.OVER_RUNTIME, signal.SIGKILL)
    assert "longer than its runtime of 1 s" in outcome.reason()


@pytest.mark.parametrize("limits", [Limits.WARN, Limits.OFF])
def test_limits_may_warn_or_be_off(tmp_path: Path, limits: Limits) -> None:
    outcome = run(limited(shell(tmp_path, HUNGRY.format(5)), limits, mem_mb=100))
    assert outcome.end is End.SUCCEEDED
    assert ("more than its mem_mb of 100" in outcome.warning) == (limits is Limits.WARN)


def test_a_sigkill_that_the_kernel_sent_for_memory_is_told_from_any_other(tmp_path: Path) -> None:
    """The kernel's kill is played: its count in the frame, and a real SIGKILL."""
    launch = shell(tmp_path, "true")
    frame = {
        "status": -9,
        "exceeded": "",
        "figures": "",
        "started_at": 0.0,
        "ended_at": 1.0,
        "cpu_s": 0.0,
        "peak_mem_mb": 700.0,
    }
    kernel = _outcome({**frame, "oom_kills": 1}, launch, WarmStart.OFF, ending="")
    other = _outcome({**frame, "oom_kills": 0}, launch, WarmStart.OFF, ending="")
    ours = _outcome({**frame, "oom_kills": 1}, launch, WarmStart.OFF, ending="the pilot ends")
    assert [outcome.end for outcome in (kernel, other, ours)] == [End.OUT_OF_MEMORY, End.FAILED, End.LOST]
    assert "the kernel ended" in kernel.reason()


def test_a_job_runs_on_the_cpus_it_was_granted(tmp_path: Path) -> None:
    cpu = min(os.sched_getaffinity(0))
    launch = shell(tmp_path, "grep Cpus_allowed_list /proc/self/status; echo $TMPDIR")
    run(replace(launch, grant=Grant(cpus=(cpu,), env={"TMPDIR": "/some/where"})))
    assert (tmp_path / "job.log").read_text() == f"Cpus_allowed_list:\t{cpu}\n/some/where\n"


def test_many_jobs_at_a_time_each_end_once(tmp_path: Path) -> None:
    async def body() -> list[Outcome]:
        async with host() as running:
            launches = [shell(tmp_path, f"exit {i % 3}", key=f"job{i}") for i in range(60)]
            return await asyncio.wait_for(asyncio.gather(*map(running.run, launches)), 60)

    assert [outcome.exit_status for outcome in asyncio.run(body())] == [i % 3 for i in range(60)]


def test_stopping_terminates_first_and_kills_what_will_not_go(tmp_path: Path) -> None:
    async def body() -> tuple[Outcome, Outcome]:
        running = await LauncherHandle.start()
        gentle = shell(tmp_path, "trap 'echo bye; exit 0' TERM; echo 1 > up1; sleep 300 & wait", key="gentle")
        stubborn = shell(tmp_path, "trap '' TERM; echo 1 > up2; while :; do sleep 1; done", key="stubborn")
        jobs = [asyncio.create_task(running.run(launch)) for launch in (gentle, stubborn)]
        await asyncio.gather(appears(tmp_path / "up1"), appears(tmp_path / "up2"))
        await asyncio.wait_for(running.stop(3), 10)
        assert running._process.poll() is not None
        one, other = await asyncio.gather(*jobs)
        return one, other

    gentle, stubborn = asyncio.run(body())
    assert "bye" in (tmp_path / "gentle.log").read_text()
    assert gentle.end is End.SUCCEEDED
    assert (stubborn.end, stubborn.signal_number) == (End.LOST, signal.SIGKILL)


def test_when_the_host_dies_its_jobs_are_lost_and_gone(tmp_path: Path) -> None:
    async def body() -> Outcome:
        running = await LauncherHandle.start()
        job = asyncio.create_task(running.run(shell(tmp_path, "echo $$ > pid; sleep 300; true")))
        pid = int(await appears(tmp_path / "pid"))
        running._process.kill()
        outcome = await asyncio.wait_for(job, 10)
        await asyncio.wait_for(gone(pid), 10)
        assert not running.alive
        return outcome

    assert asyncio.run(body()).end is End.LOST


PILOT = """
import asyncio, os, sys
from snakemake_executor_daskjq.model.request import Command, Grant, Launch, WarmStart
from snakemake_executor_daskjq.pilot import contexts
from snakemake_executor_daskjq.pilot.launcher_client import LauncherHandle
from snakemake_executor_daskjq.pilot.contexts import Launchers
from snakemake_executor_daskjq.pilot.grants import Grants
from snakemake_executor_daskjq.pilot.jobs import run_granted

async def pilot():
    host = await LauncherHandle.start()
    print(host._process.pid, flush=True)
    os.makedirs("scratch/1/full")
    grant = Grant(tmpdir=os.path.abspath("scratch/1"))
    command = Command((("/bin/sh", "-c", sys.argv[1]),), os.getcwd())
    await host.run(Launch("job", (), (), "", "log", "", command=command, grant=grant), WarmStart.DIRECT)

asyncio.run(pilot())
"""


@contextmanager
def pilot_with_job(folder: Path, script: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that runs a direct start as a pilot does, and the process id of its launcher."""
    pilot = subprocess.Popen(
        [sys.executable, "-c", PILOT, script], cwd=folder, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    with pilot:
        assert pilot.stdout is not None
        yield pilot, int(pilot.stdout.readline())


def test_when_pilot_and_launcher_are_killed_at_once_the_guard_ends_all_of_a_job(tmp_path: Path) -> None:
    script = "sleep 300 & echo $! > child; echo $$ > pid; wait"
    with pilot_with_job(tmp_path, script) as (pilot, launcher):
        pids = [int(asyncio.run(asyncio.wait_for(appears(tmp_path / name), 10))) for name in ("child", "pid")]
        pilot.send_signal(signal.SIGSTOP)  # it does nothing about it
        try:
            os.kill(launcher, signal.SIGKILL)
            for pid in pids:
                asyncio.run(asyncio.wait_for(gone(pid), 10))
            assert pilot.poll() is None  # stopped all the while, so it was not the one
        finally:
            pilot.kill()


def test_a_guard_that_is_killed_is_no_harm_to_jobs(tmp_path: Path) -> None:
    async def body() -> list[Outcome]:
        async with host() as running:
            waiting = "echo $$ > up; while [ ! -e go ]; do sleep 0.01; done"
            job = asyncio.create_task(running.run(direct(tmp_path, waiting, "a"), WarmStart.DIRECT))
            await appears(tmp_path / "up")
            (guard,) = (pid for pid in processes.children_of(running.pid) if "trap" in command_of(pid))
            os.kill(guard, signal.SIGKILL)
            await gone(guard)
            other = await running.run(direct(tmp_path, "exit 3", "b"), WarmStart.DIRECT)
            (tmp_path / "go").touch()
            return [await job, other]

    first, second = asyncio.run(asyncio.wait_for(body(), 20))
    assert (first.exit_status, second.exit_status) == (0, 3)


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


def test_the_command_of_a_benchmarked_job_ends_with_its_launcher(tmp_path: Path) -> None:
    """Its parent is a fork, which does not tell by its environment whose it is."""

    async def body() -> None:
        for number in range(5):
            handle = await LauncherHandle.start()
            script = f"echo $$ > pid{number}; sleep 300; true"
            launch = direct(tmp_path, script, f"a{number}", benchmark=True)
            job = asyncio.create_task(handle.run(launch, WarmStart.DIRECT))
            pid = int(await appears(tmp_path / f"pid{number}"))
            os.kill(handle.pid, signal.SIGKILL)
            assert (await asyncio.wait_for(job, 15)).end is End.LOST
            assert processes.session_of(pid) is None or not Path(f"/proc/{pid}/exe").exists()

    asyncio.run(body())


def test_when_the_pilot_is_killed_the_host_ends_its_jobs(tmp_path: Path) -> None:
    script = "trap 'echo ended > ended; exit' TERM; echo $$ > pid; sleep 300 & wait"
    with pilot_with_job(tmp_path, script) as (pilot, host_pid):
        job_pid = int(asyncio.run(asyncio.wait_for(appears(tmp_path / "pid"), 10)))
        pilot.kill()
    asyncio.run(asyncio.wait_for(gone(job_pid), 10))
    asyncio.run(asyncio.wait_for(gone(host_pid), 10))
    assert (tmp_path / "ended").read_text() == "ended\n"
    assert not (tmp_path / "scratch").exists()


def test_a_launcher_that_is_killed_at_its_start_says_nothing_about_its_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if 'snakemake_executor_daskjq.launcher.launcher' in sys.orig_argv:\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hook"), prepend=os.pathsep)
    outcome = asyncio.run(run_granted(shell(tmp_path, "true"), Launchers(), Grants()))
    assert (outcome.end, outcome.detail) == (End.LOST, "the launcher ended at its start (exit status -9)")


def test_one_cold_launcher_serves_a_pilot_until_it_dies(tmp_path: Path) -> None:
    async def body() -> None:
        hosts = Launchers()
        await hosts.run(shell(tmp_path, "echo $PPID > host"))
        first = int((tmp_path / "host").read_text())
        await hosts.run(shell(tmp_path, "echo $PPID > host"))
        assert int((tmp_path / "host").read_text()) == first
        os.kill(first, signal.SIGKILL)
        await gone(first)
        outcome = await hosts.run(shell(tmp_path, "echo $PPID > host"))
        if outcome.end is End.LOST:  # the pilot had not heard of the host's death yet
            outcome = await hosts.run(shell(tmp_path, "echo $PPID > host"))
        assert outcome.end is End.SUCCEEDED, outcome
        assert int((tmp_path / "host").read_text()) != first
        await hosts.stop(0.2)

    asyncio.run(body())


@pytest.fixture
def small_control_group() -> Iterator[Path]:
    """A control group of the kernel with 150 MB of memory."""
    version_1 = Path("/sys/fs/cgroup/memory")
    group = (version_1 if version_1.is_dir() else Path("/sys/fs/cgroup")) / f"daskjq-test-{os.getpid()}"
    limit = "memory.limit_in_bytes" if version_1.is_dir() else "memory.max"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"can't make a control group: {error}")
    try:
        if not (group / limit).exists():
            pytest.skip("the kernel's control groups here have no memory controller")
        (group / limit).write_text("150000000")
        yield group
    finally:
        group.rmdir()


SMALL_PILOT = """
import asyncio, os, sys
from snakemake_executor_daskjq.model.request import Launch
from snakemake_executor_daskjq.pilot.launcher_client import LauncherHandle

async def pilot():
    host = await LauncherHandle.start()
    outcome = await host.run(Launch("job", (), (), ".", "log", "true", precommand=sys.argv[1]))
    print(outcome.end, outcome.reason(), sep=";")
    await host.stop(0.1)

asyncio.run(pilot())
"""


def test_what_the_kernel_ends_for_memory_is_told_as_that(tmp_path: Path, small_control_group: Path) -> None:
    def enter() -> None:
        (small_control_group / "cgroup.procs").write_text(str(os.getpid()))

    # As Snakemake's own message in the job's log tells of the rule's command.
    script = HUNGRY.format(5) + " || { echo returned non-zero exit status $?.; exit 1; }"
    pilot = subprocess.run(
        [sys.executable, "-c", SMALL_PILOT, script], cwd=tmp_path, capture_output=True, text=True, preexec_fn=enter
    )
    end, _, reason = pilot.stdout.partition(";")
    assert end == "out_of_memory", pilot.stderr
    assert reason.startswith("out of memory: the kernel ended a process of it")


def test_a_job_whose_log_cannot_be_opened_was_not_started_and_says_why(tmp_path: Path) -> None:
    outcome = run(replace(shell(tmp_path, "true"), log_path=str(tmp_path / "removed" / "job.log")))
    assert outcome.end is End.NOT_STARTED
    assert outcome.detail.startswith("its log can't be written: [Errno 2]")


@pytest.mark.parametrize(
    ("opening", "words"),
    [
        (None, "the launcher was not ready within 0.01 s (--daskjq-warm-up-timeout)"),
        ({"op": "open", "level": WarmStart.IMPORT}, "Snakemake was not imported within 0.01 s"),
        ({"op": "open", "level": WarmStart.WORKFLOW}, "the Snakefile was not parsed within 0.01 s"),
    ],
)
def test_a_host_that_is_not_ready_in_time_is_ended_and_told(opening: dict[str, str] | None, words: str) -> None:
    before = processes.children_of(os.getpid())
    with pytest.raises(OSError if opening is None else client.RefusedError, match=re.escape(words)):
        asyncio.run(LauncherHandle.start(opening, 0.01))
    assert processes.children_of(os.getpid()) == before


def test_a_job_that_awaits_its_inputs_ends_when_it_is_told_to(tmp_path: Path) -> None:
    """It has not become its command yet, and must not once it was told to end."""

    async def body() -> Outcome:
        handle = await LauncherHandle.start()
        missing = str(tmp_path / "missing")
        command = Command((("/bin/sh", "-c", "touch ran"),), str(tmp_path), wait_for=(missing,), latency_wait_s=60)
        grant = Grant(tmpdir=str(tmp_path))
        log = tmp_path / "log"
        launch = Launch("a", (), (), "", str(log), "", warm_start=WarmStart.DIRECT, command=command, grant=grant)
        job = asyncio.create_task(handle.run(launch, WarmStart.DIRECT))
        await until(log.exists)
        stopping = asyncio.create_task(handle.stop(20.0))
        outcome = await asyncio.wait_for(job, 15)  # long before it would be killed
        await stopping
        return outcome

    outcome = asyncio.run(body())
    assert (outcome.end, outcome.signal_number) == (End.LOST, signal.SIGTERM)
    assert not (tmp_path / "ran").exists()


def test_a_benchmarked_job_has_its_grace_time_too(tmp_path: Path) -> None:
    async def body() -> Outcome:
        handle = await LauncherHandle.start()
        script = "trap 'sleep 0.3; echo bye > bye; exit 3' TERM; echo up > up; sleep 300 & wait"
        job = asyncio.create_task(handle.run(direct(tmp_path, script, benchmark=True), WarmStart.DIRECT))
        await appears(tmp_path / "up")
        stopping = asyncio.create_task(handle.stop(10.0))
        outcome = await asyncio.wait_for(job, 15)
        await stopping
        return outcome

    assert asyncio.run(body()).end is End.LOST
    assert (tmp_path / "bye").exists()


def test_what_a_child_leaves_is_seen_also_where_it_ends_while_others_are_reaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one is alive when it is looked for strays first, and then not."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        launcher = Launcher(theirs)
        scans: list[dict[str | None, list[int]]] = [{}, {"b": [4711]}]
        monkeypatch.setattr(launcher, "_strays", lambda: scans.pop(0) if scans else {})
        pids = []
        for name in "ab":
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            pids.append(pid)
            launcher._children[pid] = Child(name, pid, Bounds(), 0, products=())
        for pid in pids:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        monkeypatch.setattr(launcher_module, "_has_ended", lambda pid: pid == pids[0])
        monkeypatch.setattr(launcher_module, "_ended_children", lambda: iter(pids))
        launcher._reap()
        assert list(launcher._lingering) == ["b"]
        assert not scans
        for end in (launcher._wakeup, launcher._signalled, launcher._selector):
            end.close()
