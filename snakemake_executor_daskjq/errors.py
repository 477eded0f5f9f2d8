"""The errors a user can act on. The executor hands them to Snakemake as its own `WorkflowError`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class DaskjqError(Exception):
    """Base of every error that daskjq raises on purpose; its text is meant for the user."""


def defect(error: BaseException) -> DaskjqError:
    """What to tell of an error that should not be."""
    return DaskjqError(f"internal error: {type(error).__name__}: {str(error)[:300]}")


class SettingError(DaskjqError):
    """A setting has a value that is not allowed.

    Attributes
    ----------
    option : the setting's name without its prefix, such as `max_pilots`.
    found : what was given.
    allowed : what may be given instead.
    place : where it stands in a file; None for an option.
    """

    def __init__(self, option: str, found: object, allowed: str, place: str | None = None) -> None:
        super().__init__(option, found, allowed, place)
        self.option = option
        self.found = found
        self.allowed = allowed
        self.place = place

    def __str__(self) -> str:
        place = self.place or f"--daskjq-{self.option.replace('_', '-')}"
        return f"{place}: found {self.found!r}, allowed is {self.allowed}."


class PlaceError(DaskjqError):
    """A folder that a run needs has a path that can't be used."""

    def __init__(self, what: str, path: str) -> None:
        super().__init__(what, path)
        self.what = what
        self.path = path

    def __str__(self) -> str:
        return (
            f"The path of the {self.what} has a newline or another control character in it: {self.path!r}. "
            "Rename the folder, or run the workflow elsewhere: pilots can't be started there."
        )


def shown(resource: str, amount: int) -> str:
    """An amount in the words that users ask with.

    >>> shown("mem_mb", 500), shown("gpu_percent", 50), shown("runtime", 600)
    ('mem_mb=500', 'gpu=0.5', 'runtime=600 seconds')
    """
    if resource == "gpu_percent":
        return f"gpu={amount / 100:g}"
    return f"{resource}={amount}" + (" seconds" if resource == "runtime" else "")


class InfeasibleRequestError(DaskjqError):
    """No pilot of any pool can ever hold what a job asks for.

    Attributes
    ----------
    rule : the rule (or group) that asks.
    resource : the name of the resource that does not fit.
    amount : what is asked for, in the resource's own unit (`mem_mb`: MB, `runtime`: seconds).
    largest_offer : the largest amount that one pilot offers, 0 where none does.
    pools : the pools that the rule may use; none for all.
    """

    def __init__(self, rule: str, resource: str, amount: int, largest_offer: int, pools: tuple[str, ...] = ()) -> None:
        super().__init__(rule, resource, amount, largest_offer, pools)
        self.rule = rule
        self.resource = resource
        self.amount = amount
        self.largest_offer = largest_offer
        self.pools = pools

    def __str__(self) -> str:
        offer = shown(self.resource, self.largest_offer).partition("=")[2]
        of = f" of the pools that it may use ({', '.join(self.pools)})" if self.pools else ""
        return (
            f"Rule {self.rule} asks for {shown(self.resource, self.amount)}, but the largest pilot{of} offers "
            f"{offer}. Lower the rule's request (--set-resources, --set-threads), or "
            f"start larger pilots ({remedy(self.resource)})."
        )


class BudgetSpentError(DaskjqError):
    """Jobs wait, no pilot is left, and none may be requested any more."""

    def __init__(self, core_hours: float) -> None:
        super().__init__(core_hours)
        self.core_hours = core_hours

    def __str__(self) -> str:
        return (
            f"The pilots have used the {self.core_hours:g} core-hours that they may (--daskjq-max-core-hours), and "
            "jobs still wait. Run Snakemake again, with more of them if these were too few: it does what is left."
        )


class ResourceError(DaskjqError):
    """A rule's resource has a value that is none."""

    def __init__(self, rule: str, resource: str, found: object, allowed: str) -> None:
        super().__init__(rule, resource, found, allowed)
        self.rule = rule
        self.resource = resource
        self.found = found
        self.allowed = allowed

    def __str__(self) -> str:
        return f"Rule {self.rule} has {self.resource}={self.found!r}; allowed is {self.allowed}."


class TooFewWorkersError(DaskjqError):
    """All pilots together have no room for the Dask workers that a rule needs.

    `amounts` are those of each, `room` is how many there can be beside the rule's own job.
    """

    def __init__(self, rule: str, least: int, amounts: Mapping[str, int], room: int) -> None:
        super().__init__(rule, least, amounts, room)
        self.rule = rule
        self.least = least
        self.amounts = amounts
        self.room = room

    def __str__(self) -> str:
        each = ", ".join(shown(name, amount) for name, amount in self.amounts.items())
        return (
            f"Rule {self.rule} needs {self.least} Dask workers (dask_workers_min) of {each} each beside its own job, "
            f"but all pilots together have room for {self.room}. Lower dask_workers_min, dask_worker_threads or "
            "dask_worker_mem_mb, or allow more or larger pilots (--daskjq-max-pilots, --daskjq-cores, --daskjq-memory)."
        )


def remedy(resource: str) -> str:
    flags = {
        "cores": "--daskjq-cores",
        "mem_mb": "--daskjq-memory",
        "gpu_percent": "--daskjq-gpus",
        "runtime": "--daskjq-walltime",
    }
    return flags.get(resource, f"--daskjq-resources {resource}=N")


class UnknownPoolError(DaskjqError):
    """A rule pins itself with `daskjq_pool` to a pool that does not exist."""

    def __init__(self, rule: str, pool: str, known: tuple[str, ...]) -> None:
        super().__init__(rule, pool, known)
        self.rule = rule
        self.pool = pool
        self.known = known

    def __str__(self) -> str:
        return f"Rule {self.rule} asks for daskjq_pool={self.pool!r}; the pools are: {', '.join(self.known)}."


class ClosedPoolsError(DaskjqError):
    """No pool admits a rule: each is for other rules, or requires a label that its jobs don't bear.

    Attributes
    ----------
    rule : the rule's name.
    reasons : why not, by pool.
    """

    def __init__(self, rule: str, reasons: dict[str, str]) -> None:
        super().__init__(rule, reasons)
        self.rule = rule
        self.reasons = reasons

    def __str__(self) -> str:
        reasons = "; ".join(f"{pool}: {reason}" for pool, reason in self.reasons.items())
        return f"Rule {self.rule} may use no pool ({reasons}). Add a pool without such limits to the pools file."


class NoPilotError(DaskjqError):
    """Pilots of a pool can't be started, and no pilot is left that could run the waiting jobs.

    Attributes
    ----------
    pool : the pool's name.
    failures : how many starts failed one after the other.
    words : what the batch system, or the pilot's own log, said last.
    """

    def __init__(self, pool: str, failures: int, words: str) -> None:
        super().__init__(pool, failures, words)
        self.pool = pool
        self.failures = failures
        self.words = words

    def __str__(self) -> str:
        times = "once" if self.failures == 1 else f"{self.failures} times"
        return f"No pilot of pool {self.pool} could be started ({times}): {self.words}"


class NotPreparedError(DaskjqError):
    """Snakemake can't prepare a job (a protected output, a missing input): the job fails; the text is Snakemake's."""


class UnexpectedSnakemakeError(DaskjqError):
    """What a preview needs of Snakemake's insides is not there."""

    def __init__(self, lacks: str) -> None:
        super().__init__(lacks)
        self.lacks = lacks

    def __str__(self) -> str:
        return (
            f"This Snakemake is not as daskjq knows it ({self.lacks}), so it can't be asked what a workflow needs. "
            "Check the pools alone ('daskjq pools check FILE'), or install Snakemake 9.6 to 9.27."
        )


class ClusterStartError(DaskjqError):
    """The Dask scheduler of the run could not be started (interface, port or certificate)."""


class ControllerError(DaskjqError):
    """The controller could not begin the run, or has ended; the text is its own, or says what is known of its end."""


class DiscoveryError(DaskjqError):
    """Slurm could not be asked for its partitions, or has none that the user may use."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.words = words

    def __str__(self) -> str:
        return (
            f"The shapes of pilots could not be learned from Slurm: {self.words}. "
            "State them: --daskjq-cores and --daskjq-memory, or --daskjq-pools FILE."
        )


class NoRunError(DaskjqError):
    """There is no journal to read."""

    def __init__(self, where: str) -> None:
        super().__init__(where)
        self.where = where

    def __str__(self) -> str:
        return (
            f"No run found in {self.where}. Call it where Snakemake was called, or name the run's folder: --run FOLDER."
        )


class LeftJobsError(DaskjqError):
    """Jobs of a killed Snakemake run where this run can't have them. `stop` is the command that ends them."""

    def __init__(self, run: str, jobs: int, reason: str, stop: str) -> None:
        super().__init__(
            f"Jobs that run {run} has left, whose Snakemake has died, are running (at most {jobs}). This run can't "
            f"take them over, for {reason}; or end those jobs first with '{stop}'."
        )


class TakenOverError(DaskjqError):
    """Two runs resume the same job of a killed Snakemake."""

    def __init__(self, rule: str) -> None:
        super().__init__(
            f"A job of rule {rule}, which a killed Snakemake has left, is another run's by now: two runs of the same "
            "workflow are under way (--nolock). Let the other one end first."
        )


class NoControllerError(DaskjqError):
    """There is no controller of a name that can be used here. `host` is where it is, if anywhere."""

    def __init__(self, name: str, known: Sequence[str], host: str = "") -> None:
        where = f" on this host (it is on {host})" if host else ""
        others = f" There are: {', '.join(known)}." if known else ""
        super().__init__(
            f"--daskjq-controller: no controller {name} runs{where}.{others} 'daskjq start {name}' starts it; "
            "'daskjq status' shows what there is."
        )


class OtherControllerError(DaskjqError):
    """A run states what the controller that it names has not."""

    def __init__(self, name: str, differences: str) -> None:
        super().__init__(
            f"--daskjq-controller {name}: this run asks for others than that controller has ({differences}). Leave "
            f"that out, or end the controller ('daskjq stop {name}') and start it with the same options, variables and "
            "versions."
        )


class SilentControllerError(DaskjqError):
    """A controller that outlives runs does not answer, so it can't be known what runs."""

    def __init__(self, run: str, host: str, pid: int, stop: str) -> None:
        super().__init__(
            f"The controller of run {run} (process {pid} on {host}) does not answer, and jobs of it may be running. "
            f"Try '{stop}' first, and 'kill -9 {pid}' there where that does not help: it ends all that it has, too."
        )
