"""How many more pilots of each pool to ask for now.

The model, in units of pilots and for one span of time ahead (`SPAN_S`): a waiting job needs of each resource
`min(expected_s, SPAN_S) / SPAN_S / (how many such jobs a pilot holds by that resource)`. A pilot offers 1 of each;
one that runs offers what its jobs leave free within the span, one near its end only the time that it has left.
Short jobs therefore share few pilots, and long ones get as many as they can use at the same time. Work that is
not covered ends later, and costs `LATE` times what a pilot's time for it would: so a pilot is requested as soon
as a tenth of it would be used, and not for less while others run.

`plan` gives the greedy one, and an integer program's (PuLP, imported only then)
where that is better: which pool is best for which job is open as soon as some job fits several.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from .fit import could_hold

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from ..model.pool import Pool
    from ..model.request import Amounts, Request
    from .rooms import Room

SPAN_S = 300.0
"""A pilot is worth its batch job if it has at least this much to do."""

LATE = 10.0
"""What work that no pilot covers costs, in prices of a pilot's time for it."""

SOLVE_S = 0.5
"""The integer program's limit; the best answer by then, or the greedy one, is taken."""

MOST_DEMANDS = 200
"""With more kinds of work than this the greedy answer has to do: the program would take too long."""

TINY = 1e-9

Floors: TypeAlias = "Sequence[tuple[frozenset[int], int]]"


@dataclass(frozen=True, slots=True)
class Demand:
    """`jobs` waiting jobs that look like `request` and take about `expected_s` seconds each.

    Those `at_once` are to run at a time: none makes room for another by ending.
    """

    request: Request
    jobs: int
    expected_s: float
    at_once: bool = False


@dataclass(frozen=True, slots=True)
class Supply:
    """The pilots of one pool, and how many more there may be.

    Attributes
    ----------
    running : connected pilots on which some of the waiting jobs could still end.
    coming : pilots requested or in the batch queue.
    ending : connected pilots with too little walltime left for the waiting jobs; they count for the limit only.
    free : what running pilots offer within the span, in pilots, by resource; None for all of it.
    submissions_left : how many may be requested now: a pool that fails to start is left alone for a while,
        and so is a batch system that has been asked often.
    """

    pool: Pool
    running: int = 0
    coming: int = 0
    ending: int = 0
    free: Mapping[str, float] | None = None
    submissions_left: int = 10**6

    @classmethod
    def of(
        cls,
        pool: Pool,
        rooms: Collection[Room],
        coming: int,
        now: float,
        *,
        unknown_s: float,
        shortest: Request | None = None,
        submissions_left: int = 10**6,
    ) -> Supply:
        """What connected pilots offer: `rooms` are what they have.

        `shortest` is the waiting job of the pool that needs the least time; a pilot with less left is of no use.
        `unknown_s` is what running jobs are taken to need of which nothing is known.
        """
        useful = [room for room in rooms if not room.is_spent(shortest, now)]
        free = dict.fromkeys(pool.amounts, 0.0)
        for room in useful:
            for resource, share in room.free_share(now, SPAN_S, unknown_s).items():
                free[resource] += share
        return cls(pool, len(useful), coming, len(rooms) - len(useful), free, submissions_left)

    @property
    def most(self) -> int:
        """How many more may be requested under all limits."""
        pool = self.pool
        left = pool.max_pilots - self.running - self.coming - self.ending
        if pool.max_queued is not None:
            left = min(left, pool.max_queued - self.coming)
        return max(0, min(left, self.submissions_left))

    def offered(self, resource: str) -> float:
        """Pilots' worth of a resource within the span, without new pilots."""
        return self.coming + (self.running if self.free is None else self.free.get(resource, 0.0))

    @property
    def price(self) -> float:
        """Of one pilot for one span; what most jobs don't ask for makes it a little dearer."""
        return max(TINY, self.pool.price * (1 + 0.01 * len(self.pool.others))) * SPAN_S / 3600


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer.

    Attributes
    ----------
    more : how many pilots to request, by pool; pools that need none are left out.
    method : `greedy` or `program`.
    objective : its price by `objective`.
    gap : by which share of it, at most, a better answer could be cheaper; None where that is not known.
    """

    more: dict[str, int]
    method: str = "greedy"
    objective: float = 0.0
    gap: float | None = 0.0


@dataclass(frozen=True, slots=True)
class Work:
    """Demands that nothing tells apart for the planner, as shares of a pilot.

    `shares` has, for each usable pool (an index), what all of it needs of each resource, in pilots; `late` is what
    it costs to leave all of it uncovered.
    """

    shares: Mapping[int, Mapping[str, float]]
    late: float


def plan(demands: Iterable[Demand], supplies: Sequence[Supply], *, program: bool = True) -> Plan:
    """How many pilots to request.

    With `program` False only the greedy answer is made, which takes milliseconds; `gap` is None then where jobs have
    a choice of pools, so that the program might find a better one.
    """
    demands = list(demands)
    work = _digest(demands, supplies)
    floors = [*_floors(work, supplies), *_floors_at_once(demands, supplies)]
    more = _greedy(work, supplies, floors)
    price, method = _price(more, work, supplies), "greedy"
    bound = _bound(work, supplies, floors)
    if program and bound is None and len(work) <= MOST_DEMANDS:
        answer = _program(work, supplies, floors)
        if answer is not None:
            better, bound = answer
            if (cheaper := _price(better, work, supplies)) < price * (1 - 1e-6):
                more, price, method = better, cheaper, "program"
    gap = None if bound is None else max(0.0, 1 - bound / price) if price > TINY else 0.0
    wanted = {supply.pool.name: n for supply, n in zip(supplies, more, strict=True) if n}
    return Plan(wanted, method, price, gap)


def _counts(amounts: Amounts, offers: Amounts) -> dict[str, int]:
    """How many such jobs one pilot can hold at a time, by each resource.

    >>> _counts({"cores": 2, "mem_mb": 16000}, {"cores": 16, "mem_mb": 64000})
    {'cores': 8, 'mem_mb': 4}
    """
    return {name: max(1, offers.get(name, 0) // amount) for name, amount in amounts.items() if amount}


def _digest(demands: Iterable[Demand], supplies: Sequence[Supply]) -> list[Work]:
    """Demands as shares of pilots, like ones together, the hardest to please first."""
    spans: dict[tuple[tuple[int, tuple[tuple[str, int], ...]], ...], float] = {}
    for demand in demands:
        request = demand.request
        usable = tuple(
            (index, tuple(sorted(_counts(request.amounts, supply.pool.amounts).items())))
            for index, supply in enumerate(supplies)
            if could_hold(request, supply.pool)
        )
        if usable:
            seconds = max(TINY, min(demand.expected_s, SPAN_S))
            spans[usable] = spans.get(usable, 0.0) + demand.jobs * seconds / SPAN_S
    work = []
    for usable, span in spans.items():
        shares = {index: {name: span / count for name, count in counts} for index, counts in usable}
        late = LATE * min(supplies[index].price * max(needs.values()) for index, needs in shares.items())
        work.append(Work(shares, late))
    return sorted(work, key=lambda item: (len(item.shares), -item.late))


def _floors(work: Sequence[Work], supplies: Sequence[Supply]) -> Floors:
    """What every answer must hold: so many new pilots at least in these pools together.

    Each pool's `min_pilots`, and one pilot for work that has none at all to go to.
    """
    floors = []
    for index, supply in enumerate(supplies if work else ()):
        missing = min(supply.most, supply.pool.min_pilots - supply.running - supply.coming)
        if missing > 0:
            floors.append((frozenset({index}), missing))
    for item in work:
        if not any(supplies[index].running + supplies[index].coming for index in item.shares):
            possible = frozenset(index for index in item.shares if supplies[index].most)
            if possible:
                floors.append((possible, 1))
    return floors


def _floors_at_once(demands: Iterable[Demand], supplies: Sequence[Supply]) -> Floors:
    """As many pilots as hold those jobs that are to run at a time: none makes room for another by ending.

    That they wait says that no running pilot has room for them; those that come have all of it.
    """
    jobs: Counter[tuple[tuple[int, int], ...]] = Counter()
    for demand in demands:
        if not demand.at_once:
            continue
        amounts = demand.request.amounts
        usable = {
            index: min(_counts(amounts, supply.pool.amounts).values())
            for index, supply in enumerate(supplies)
            if could_hold(demand.request, supply.pool)
        }
        jobs[tuple(usable.items())] += demand.jobs
    floors = []
    for kinds, count in jobs.items():
        left = count - sum(supplies[index].coming * each for index, each in kinds)
        possible = {index: each for index, each in kinds if supplies[index].most}
        if left > 0 and possible:
            least = math.ceil(left / max(possible.values()))
            floors.append((frozenset(possible), min(least, sum(supplies[index].most for index in possible))))
    return floors


def _price(more: Sequence[int], work: Sequence[Work], supplies: Sequence[Supply]) -> float:
    left = [_offers(supply, n, work) for supply, n in zip(supplies, more, strict=True)]
    late = sum(item.late * _cover(item, left, supplies) for item in work)
    return late + sum(supply.price * n for supply, n in zip(supplies, more, strict=True))


def _offers(supply: Supply, more: int, work: Sequence[Work]) -> dict[str, float]:
    names = {name for item in work for needs in item.shares.values() for name in needs}
    return {name: supply.offered(name) + more for name in names}


def _cheapest_first(item: Work, supplies: Sequence[Supply]) -> list[int]:
    return sorted(item.shares, key=lambda index: (supplies[index].price * max(item.shares[index].values()), index))


def _cover(item: Work, left: list[dict[str, float]], supplies: Sequence[Supply]) -> float:
    """Give `item` what is left of its pools, cheapest first; the share of it that gets nothing."""
    uncovered = 1.0
    for index in _cheapest_first(item, supplies):
        offered, needs = left[index], item.shares[index]
        part = min([uncovered, *(max(0.0, offered[name]) / need for name, need in needs.items())])
        for name, need in needs.items():
            offered[name] -= part * need
        uncovered -= part
        if uncovered <= TINY:
            return 0.0
    return uncovered


def _greedy(work: Sequence[Work], supplies: Sequence[Supply], floors: Floors) -> list[int]:
    """Each kind of work in turn takes what there is, and new pilots of the pool that is cheapest for it."""
    more = [0] * len(supplies)
    for pools, least in floors:
        while sum(more[index] for index in pools) < least:
            free = [index for index in pools if more[index] < supplies[index].most]
            more[min(free, key=lambda index: (supplies[index].price, index))] += 1
    left = [_offers(supply, n, work) for supply, n in zip(supplies, more, strict=True)]
    for item in work:
        uncovered = _cover(item, left, supplies)
        for index in _cheapest_first(item, supplies):
            if uncovered <= TINY:
                break
            supply, needs, offered = supplies[index], item.shares[index], left[index]
            missing = max(uncovered * need - max(0.0, offered[name]) for name, need in needs.items())
            wanted = math.floor(missing + 1 - 1 / LATE - TINY)  # a tenth of a pilot is left uncovered
            wanted = max(0, min(wanted, supply.most - more[index]))
            more[index] += wanted
            for name in offered:
                offered[name] += wanted
            part = min([uncovered, *(max(0.0, offered[name]) / need for name, need in needs.items())])
            for name, need in needs.items():
                offered[name] -= part * need
            uncovered -= part
    # What came first may have been too much in the light of what came later.
    best = _price(more, work, supplies)
    for index in sorted(range(len(more)), key=lambda index: -supplies[index].price):
        while more[index]:
            more[index] -= 1
            price = _price(more, work, supplies)
            if price >= best or not all(sum(more[i] for i in pools) >= least for pools, least in floors):
                more[index] += 1
                break
            best = price
    return more


def _bound(work: Sequence[Work], supplies: Sequence[Supply], floors: Floors) -> float | None:
    """A price that no answer can be below, where each kind of work has one pool to go to, or nothing can be had.

    Of one pool with n more pilots, at least (the largest need of a resource - what is offered - n) pilots' worth
    stays uncovered, at `LATE` prices each: convex in n, so the least is beside the n where all is covered.
    """
    if not any(supply.most for supply in supplies):
        return _price([0] * len(supplies), work, supplies)
    if any(len(item.shares) != 1 for item in work):
        return None
    needs: list[dict[str, float]] = [{} for _ in supplies]
    for item in work:
        for index, shares in item.shares.items():
            for name, share in shares.items():
                needs[index][name] = needs[index].get(name, 0.0) + share
    total = 0.0
    least = [max((n for pools, n in floors if index in pools), default=0) for index in range(len(supplies))]
    for supply, needed, n in zip(supplies, needs, least, strict=True):
        missing = max((need - supply.offered(name) for name, need in needed.items()), default=0.0)
        options = {max(n, min(supply.most, k)) for k in (math.floor(missing), math.ceil(missing))}
        total += min(supply.price * (k + LATE * max(0.0, missing - k)) for k in options)
    return total


def _program(work: Sequence[Work], supplies: Sequence[Supply], floors: Floors) -> tuple[list[int], float] | None:
    """The integer program: its answer, and a price that no answer can be below; None if no solver works."""
    import pulp

    problem = pulp.LpProblem("pilots", pulp.LpMinimize)
    more = [pulp.LpVariable(f"n{index}", 0, supply.most, cat="Integer") for index, supply in enumerate(supplies)]
    parts = [
        {index: pulp.LpVariable(f"x{number}_{index}", 0, 1) for index in item.shares}
        for number, item in enumerate(work)
    ]
    late = [pulp.LpVariable(f"u{number}", 0, 1) for number in range(len(work))]
    problem += pulp.lpSum(supply.price * n for supply, n in zip(supplies, more, strict=True)) + pulp.lpSum(
        item.late * share for item, share in zip(work, late, strict=True)
    )
    for part, share in zip(parts, late, strict=True):
        problem += pulp.lpSum(part.values()) + share == 1
    for pools, least in floors:
        problem += pulp.lpSum(more[index] for index in pools) >= least
    names = {name for item in work for needs in item.shares.values() for name in needs}
    for index, supply in enumerate(supplies):
        for name in names:
            uses = [
                item.shares[index][name] * part[index]
                for item, part in zip(work, parts, strict=True)
                if name in item.shares.get(index, ())
            ]
            if uses:
                problem += pulp.lpSum(uses) <= max(0.0, supply.offered(name)) + more[index]
    solver = pulp.PULP_CBC_CMD(msg=False, timeLimit=SOLVE_S, threads=1)
    try:
        for n in more:
            n.cat = "Continuous"
        problem.solve(solver)
        if problem.status != pulp.LpStatusOptimal:
            return None
        bound = pulp.value(problem.objective)
        for n in more:
            n.cat = "Integer"
        problem.solve(solver)
    except (pulp.PulpSolverError, OSError):
        return None  # no solver on this platform
    if any(n.value() is None for n in more):
        return None
    if problem.sol_status == pulp.LpSolutionOptimal:
        bound = pulp.value(problem.objective)
    return [min(round(n.value()), supply.most) for n, supply in zip(more, supplies, strict=True)], bound
