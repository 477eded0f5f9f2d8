"""What placement and planner cost: CPU time of a run in simulated time, on 1,000 pilots of 16 cores.

    python benchmarks/dispatch.py

Each job's end is a round of its own, as in a real run. "few" has 4 shapes of jobs, "own" a memory of its own for
each job (as where `mem_mb` follows the input's size), "own2" a runtime of its own as well.
"""

from __future__ import annotations

import heapq
import random
import time

from snakemake_executor_daskjq.model.pool import Pool
from snakemake_executor_daskjq.model.request import Request
from snakemake_executor_daskjq.policy.placement import place
from snakemake_executor_daskjq.policy.planner import Demand, Supply, plan
from snakemake_executor_daskjq.policy.queue import ReadyQueue
from snakemake_executor_daskjq.policy.rooms import Ledger, Room

PILOTS = 1000
POOLS = [
    Pool("main", "slurm", cores=16, mem_mb=64000, max_pilots=2000),
    Pool("wide", "slurm", cores=64, mem_mb=128000, max_pilots=100),
    Pool("large", "slurm", cores=16, mem_mb=512000, cost_per_hour=40.0, max_pilots=50),
]


def requests(jobs: int, shapes: str) -> list[Request]:
    rng = random.Random(1)
    return [
        Request(
            f"j{i}",
            i,
            f"rule{i % 10}",
            1,
            {
                "cores": (1, 1, 2, 4)[i % 4],
                "mem_mb": (1000, 2000, 4000, 8000)[i % 4] if shapes == "few" else rng.randrange(500, 8000),
            },
            runtime_s=rng.randrange(60, 6000) if shapes == "own2" else None,
        )
        for i in range(jobs)
    ]


def measure(jobs: int, shapes: str) -> tuple[float, float, float]:
    """CPU microseconds a job for queueing and for placing it, and seconds of one planner round at the start."""
    rng = random.Random(2)
    waiting = requests(jobs, shapes)
    started = time.process_time()
    ready = ReadyQueue(lambda request: 10.0)
    for request in waiting:
        ready.push(request, 0.0)
    queue_s = time.process_time() - started

    started = time.perf_counter()
    demands = [Demand(request, n, expected_s or 30.0) for request, n, expected_s in ready.demands(POOLS)]
    plan(demands, [Supply(pool) for pool in POOLS])
    plan_s = time.perf_counter() - started

    ledger = Ledger()
    for number in range(PILOTS):
        ledger.add(Room(f"p{number}", "main", dict(POOLS[0].amounts)))
    running: list[tuple[float, str, Room]] = []
    now, place_s, placed_jobs = 0.0, 0.0, 0
    while True:
        started = time.process_time()
        placed = place(ready, ledger, now)
        place_s += time.process_time() - started
        placed_jobs += len(placed)
        for request, room in placed:
            heapq.heappush(running, (now + rng.uniform(5, 15), request.key, room))
        if not running:
            break
        now, key, room = heapq.heappop(running)
        started = time.process_time()
        ledger.give_back(room, key)
        place_s += time.process_time() - started
    assert placed_jobs == jobs
    return 1e6 * queue_s / jobs, 1e6 * place_s / jobs, plan_s


if __name__ == "__main__":
    print("| shapes | jobs | queueing, us a job | placement, us a job | planner, s a round |")
    print("|---|---|---|---|---|")
    for shapes in ("few", "own", "own2"):
        for jobs in (1000, 10_000, 100_000):
            queue_us, place_us, plan_s = measure(jobs, shapes)
            print(f"| {shapes} | {jobs} | {queue_us:.1f} | {place_us:.1f} | {plan_s:.3f} |", flush=True)
