"""Replays workflow traces (WfCommons' WfFormat 1.5) in simulated time, through the controller core of a run.

    python benchmarks/replay.py [TRACE.json[.gz] ...] [--wait 60] [--cores 8] [--pilots 3]

Simulated are the batch system (each batch job starts `--wait` seconds after its request, while the cores of
`--pilots` pilots are not all in use) and the jobs (each takes what its trace says). No runtime is
stated; in a first run nothing is known of a rule before its first job has ended, in a second one the means of the
first are. The baselines have the same cores:

- one batch job for each job of the workflow, which waits in the queue and starts a Snakemake of its own (3 s);
- a fixed pool: all pilots from the start to the end, first come first served on the first pilot with room.

"bound" is a makespan that nothing can go below: the larger of the first pilot's start plus the critical path, and
the time at which the pilots that were granted have offered as many core-seconds as the jobs use. "used" is the
share of the pilots' core-seconds that jobs used while any job waited; "paid" is over all. With more pilots the ratio
rises, for the bound does not know that much of the work becomes ready late. The exit status is 1 where a trace is over
`RATIO` or under `USED`.
"""

from __future__ import annotations

import argparse
import gzip
import heapq
import itertools
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from snakemake_executor_daskjq.journal import events as journal
from snakemake_executor_daskjq.model.pool import Pool
from snakemake_executor_daskjq.model.request import Outlook, Request
from snakemake_executor_daskjq.model.usage import Usage
from snakemake_executor_daskjq.policy import messages
from snakemake_executor_daskjq.policy.core import Core
from snakemake_executor_daskjq.policy.simulation import Simulation

TRACES = Path(__file__).parent / "traces"
MEM_MB_PER_CORE = 4000
WALLTIME_S = 4 * 3600
SNAKEMAKE_S = 3.0
RATIO = 1.10
USED = 0.9


@dataclass(frozen=True, slots=True)
class Task:
    request: Request
    seconds: float
    parents: frozenset[str]


def read(path: Path, most_cores: int) -> dict[str, Task]:
    """The tasks of a trace by id. Tasks with more cores than a pilot get what there is, as with Snakemake."""
    data = path.read_bytes()
    workflow = json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)["workflow"]
    runs = {run["id"]: run for run in workflow["execution"]["tasks"]}
    tasks = {}
    for number, task in enumerate(workflow["specification"]["tasks"]):
        run = runs[task["id"]]
        cores = min(most_cores, max(1, int(run.get("coreCount") or run.get("cores") or 1)))
        amounts = {"cores": cores}
        if run.get("memoryInBytes"):
            amounts["mem_mb"] = min(most_cores * MEM_MB_PER_CORE, math.ceil(run["memoryInBytes"] / 1e6))
        request = Request(task["id"], number, task["name"], 1, amounts)
        tasks[task["id"]] = Task(request, float(run["runtimeInSeconds"]), frozenset(task["parents"]))
    return tasks


def usages(tasks: dict[str, Task]) -> dict[str, Usage]:
    """What an earlier run of the same workflow would have left in the history."""
    found: dict[str, Usage] = {}
    for task in tasks.values():
        usage = Usage(1, task.seconds, task.seconds, 0.0, 0.0)
        rule = task.request.rule
        found[rule] = found[rule].and_(usage) if rule in found else usage
    return found


def outlook(tasks: dict[str, Task]) -> Outlook:
    follows: dict[str, set[str]] = {}
    for task in tasks.values():
        for parent in task.parents:
            follows.setdefault(tasks[parent].request.rule, set()).add(task.request.rule)
    jobs = Counter(task.request.rule for task in tasks.values())
    return Outlook(dict(jobs), {rule: frozenset(after - {rule}) for rule, after in follows.items()})


def critical_path_s(tasks: dict[str, Task]) -> float:
    ends: dict[str, float] = {}
    for key in _parents_first(tasks):
        ends[key] = tasks[key].seconds + max((ends[parent] for parent in tasks[key].parents), default=0.0)
    return max(ends.values())


def _parents_first(tasks: dict[str, Task]) -> list[str]:
    order: dict[str, None] = {}
    waiting = {key: set(task.parents) for key, task in tasks.items()}
    while waiting:
        free = [key for key, parents in waiting.items() if not parents - order.keys()]
        for key in free:
            order[key] = None
            del waiting[key]
    return list(order)


@dataclass(slots=True)
class Clock:
    """Events in simulated time."""

    now: float = 0.0
    _events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _serial: itertools.count[int] = field(default_factory=itertools.count)

    def at(self, time_s: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time_s, next(self._serial), happen))

    def step(self) -> bool:
        """Let all happen that is due next."""
        if not self._events:
            return False
        self.now = self._events[0][0]
        while self._events and self._events[0][0] <= self.now:
            heapq.heappop(self._events)[2]()
        return True


@dataclass(slots=True)
class Use:
    """Core-seconds over time, and the pilots' lives."""

    lives: dict[str, tuple[float, float, int]] = field(default_factory=dict)
    busy_cores: int = 0
    alive_cores: int = 0
    used_core_s: float = 0.0
    offered_core_s: float = 0.0
    _since: float = 0.0

    def until(self, now: float, jobs_wait: bool) -> None:
        """Account for the time since the last call."""
        if jobs_wait:
            self.used_core_s += self.busy_cores * (now - self._since)
            self.offered_core_s += self.alive_cores * (now - self._since)
        self._since = now


@dataclass(frozen=True, slots=True)
class Result:
    makespan_s: float
    bound_s: float
    used: float
    paid: float
    batch_jobs: int


def bound_s(tasks: dict[str, Task], use: Use) -> float:
    work = sum(task.seconds * task.request.amounts["cores"] for task in tasks.values())
    first = min(start for start, _, _ in use.lives.values())
    changes = sorted(change for start, end, cores in use.lives.values() for change in ((start, cores), (end, -cores)))
    cores, since, offered = 0, 0.0, 0.0
    for at, change in changes:
        if offered + cores * (at - since) >= work and cores:
            break
        offered += cores * (at - since)
        cores, since = cores + change, at
    area_s = since + (work - offered) / cores if cores else since
    return max(area_s, first + critical_path_s(tasks))


class Replay:
    """A run of daskjq in simulated time: the trace's jobs come as their parents end, the core does the rest."""

    def __init__(self, tasks: dict[str, Task], pool: Pool, wait_s: float, history: dict[str, Usage]) -> None:
        self.tasks, self.pool, self.use = tasks, pool, Use()
        self.core = Core([pool])
        self.core.handle(messages.RunBegins(1, history), now=0.0)
        self.simulation = Simulation(self.core, 0.0, lambda request: tasks[request.key].seconds, lambda _: wait_s)
        self.running: dict[str, str] = {}
        self.waiting = 0
        self.done: set[str] = set()
        self.children: dict[str, list[str]] = {}
        for key, task in tasks.items():
            for parent in task.parents:
                self.children.setdefault(parent, []).append(key)

    def run(self) -> Result:
        self.simulation.at(0.0, messages.OutlookLearned(outlook(self.tasks)))
        self._submit(key for key, task in self.tasks.items() if not task.parents)
        while len(self.done) < len(self.tasks):
            jobs_wait = self.waiting > 0
            instructions = self.simulation.step()
            self.use.until(self.simulation.now, jobs_wait)
            for instruction in instructions:
                self._note(instruction)
        now = self.simulation.now
        for pilot, (start, end, cores) in self.use.lives.items():
            self.use.lives[pilot] = (start, min(end, now), cores)
        lives = self.use.lives.values()
        work = sum(task.seconds * task.request.amounts["cores"] for task in self.tasks.values())
        paid = work / sum((end - start) * cores for start, end, cores in lives)
        used = self.use.used_core_s / self.use.offered_core_s if self.use.offered_core_s else 1.0
        return Result(now, bound_s(self.tasks, self.use), used, paid, len(lives))

    def _submit(self, keys: Iterable[str]) -> None:
        requests = tuple(self.tasks[key].request for key in keys)
        if requests:
            self.waiting += len(requests)
            self.simulation.at(self.simulation.now, messages.JobsSubmitted(requests))

    def _note(self, instruction: messages.Instruction) -> None:
        now = self.simulation.now
        match instruction:
            case messages.StartJob(request, pilot):
                self.waiting -= 1
                self.running[request.key] = pilot
                self.use.busy_cores += request.amounts["cores"]
            case messages.ReportEnd(request):
                del self.running[request.key]
                self.done.add(request.key)
                self.use.busy_cores -= request.amounts["cores"]
                children = self.children.get(request.key, ())
                self._submit(child for child in children if self.tasks[child].parents <= self.done)
            case messages.Record(journal.PilotStarted(pilot=pilot)):
                self.use.alive_cores += self.pool.amounts["cores"]
                self.use.lives[pilot] = (now, math.inf, self.pool.amounts["cores"])
                self.simulation.at(now + WALLTIME_S, messages.PilotDisconnected(pilot))
            case messages.Record(journal.PilotEnded(pilot=pilot) | journal.PilotLost(pilot=pilot)):
                assert pilot not in self.running.values(), "a job was placed on a pilot that it outlives"
                start, _, cores = self.use.lives[pilot]
                self.use.lives[pilot] = (start, now, cores)
                self.use.alive_cores -= cores


def batch_job_each(tasks: dict[str, Task], cores: int, wait_s: float) -> float:
    """The makespan with one batch job for each job of the workflow, on so many cores in all."""
    clock, done, queue, state = Clock(), set[str](), list[str](), {"free": cores}

    def ended(key: str) -> None:
        state["free"] += tasks[key].request.amounts["cores"]
        done.add(key)
        for child, task in tasks.items():
            if key in task.parents and task.parents <= done:
                clock.at(clock.now + wait_s, lambda child=child: queue.append(child))  # type: ignore[misc]

    for key, task in tasks.items():
        if not task.parents:
            clock.at(wait_s, lambda key=key: queue.append(key))  # type: ignore[misc]
    while len(done) < len(tasks):
        assert clock.step()
        while queue and tasks[queue[0]].request.amounts["cores"] <= state["free"]:
            key = queue.pop(0)
            state["free"] -= tasks[key].request.amounts["cores"]
            clock.at(clock.now + SNAKEMAKE_S + tasks[key].seconds, lambda key=key: ended(key))  # type: ignore[misc]
    return clock.now


def fixed_pool(tasks: dict[str, Task], pool: Pool, wait_s: float) -> tuple[float, float]:
    """The makespan with all pilots from the start to the end, first come first served, and the share used."""
    clock, done, queue = Clock(), set[str](), [key for key, task in tasks.items() if not task.parents]
    rooms = [dict(pool.amounts) for _ in range(pool.max_pilots)]

    def ended(key: str, room: dict[str, int]) -> None:
        for name, amount in tasks[key].request.amounts.items():
            room[name] += amount
        done.add(key)
        for child, task in tasks.items():
            if key in task.parents and task.parents <= done:
                queue.append(child)

    clock.at(wait_s, lambda: None)
    while len(done) < len(tasks):
        assert clock.step()
        while queue:
            amounts = tasks[queue[0]].request.amounts
            room = next((r for r in rooms if all(n <= r[name] for name, n in amounts.items())), None)
            if room is None:
                break
            key = queue.pop(0)
            for name, amount in amounts.items():
                room[name] -= amount
            clock.at(clock.now + tasks[key].seconds, lambda key=key, room=room: ended(key, room))  # type: ignore[misc]
    work = sum(task.seconds * task.request.amounts["cores"] for task in tasks.values())
    return clock.now, work / (pool.amounts["cores"] * pool.max_pilots * (clock.now - wait_s))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("traces", nargs="*", type=Path, default=sorted(TRACES.glob("*.json.gz")))
    parser.add_argument("--wait", type=float, default=60.0, help="seconds that a batch job waits in the queue")
    parser.add_argument("--cores", type=int, default=8, help="of one pilot")
    parser.add_argument("--pilots", type=int, default=3, help="at most")
    options = parser.parse_args()
    pool = Pool(
        "main",
        "slurm",
        cores=options.cores,
        mem_mb=options.cores * MEM_MB_PER_CORE,
        walltime_s=WALLTIME_S,
        max_pilots=options.pilots,
    )
    is_met = True
    print("| trace | jobs | run | makespan s | bound s | ratio | used | paid | batch jobs |")
    print("|---|---|---|---|---|---|---|---|---|")
    for path in options.traces:
        tasks, name = read(path, options.cores), path.name.partition(".")[0]
        for run, history in (("first", {}), ("second", usages(tasks))):
            result = Replay(tasks, pool, options.wait, history).run()
            ratio = result.makespan_s / result.bound_s
            is_met = is_met and ratio <= RATIO and result.used >= USED
            print(
                f"| {name} | {len(tasks)} | {run} | {result.makespan_s:.0f} | {result.bound_s:.0f} | {ratio:.2f} "
                f"| {result.used:.0%} | {result.paid:.0%} | {result.batch_jobs} |"
            )
        each_s = batch_job_each(tasks, options.cores * options.pilots, options.wait)
        print(f"| | | a batch job each | {each_s:.0f} | | | | | {len(tasks)} |")
        fixed_s, fixed_paid = fixed_pool(tasks, pool, options.wait)
        print(f"| | | fixed pool | {fixed_s:.0f} | | | | {fixed_paid:.0%} | {options.pilots} |")
    sys.exit(0 if is_met else 1)


if __name__ == "__main__":
    main()
