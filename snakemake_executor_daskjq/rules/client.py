"""A Dask cluster of a rule's own, inside exactly what its job holds. For `script:`, `notebook:` and `run:` rules."""

from __future__ import annotations

import atexit
import contextlib
import json
import math
import os
import re
import sys
import tempfile
import threading
import time
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any, NoReturn

import dask.config
import psutil
from distributed import Client, LocalCluster, Nanny, Scheduler
from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.security import Security
from distributed.utils import get_ip

from ..errors import DaskjqError
from ..model.machine_view import GPU_NAMES, GPU_VARIABLES, NO_GPU, OWN_MB, RECORD
from ..model.rendezvous import FILE, Invitation
from .meeting import is_over
from .shape import SMALL_WORKER_MB, shape_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .shape import Shape

LOOK_S = 0.2
"""No more often it is looked what workers use."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "GOTO_NUM_THREADS")
"""Those of Snakemake's that NumPy's libraries read as they are loaded."""

NO_PAGES: dict[str, list[str]] = {"distributed.scheduler.http.routes": [], "distributed.worker.http.routes": []}

OF_A_JOB = re.compile(
    r"DASKJQ_.*|TMPDIR|TEMP|TMP|MC_CORES|PYTHON_CPU_COUNT|DASK_TEMPORARY_DIRECTORY|.*_VISIBLE_DEVICES|HOSTNAME|PWD"
    r"|(SLURM|SLURMD|PBS|SGE|LSB|LSF|OAR|MOAB|CONDOR|PMI|OMPI|PMIX)_.*|_CONDOR_.*|JOB_ID|NSLOTS|NCPUS|.*_NUM_THREADS"
)
"""Variables that workers have of their own; all others are the rule's."""

WATCH_S = 1.0
"""So often a rule looks whether it is to have workers still."""

TELL_S = 60.0
"""So often a rule that waits for its workers says so in its log."""

ABOVE_OWN_MB = 100.0
"""What the scheduler and the client add to the rule's process."""


def dask_client(
    snakemake: Any = None,
    shape: str | None = None,
    *,
    threads: int | None = None,
    resources: Any = None,
    dashboard: bool = False,
) -> RuleClient:
    """The client of a new Dask cluster that uses what this rule's job holds: its cores, memory, GPUs and `tmpdir`.

        with dask_client(snakemake) as client: ...

    Workers are processes on this machine. Their limits add up to less than the rule's `mem_mb`, so they spill to disk,
    pause, and start anew before the job as a whole is over its memory. It does the same under any executor.

    Parameters
    ----------
    snakemake : the object of that name in a script or notebook.
    shape : `threads` (one worker), `processes` (one for each thread), `gpus` (one for each GPU) or WORKERSxTHREADS;
        by default what the rule's resource `dask` says, and else `threads`.
    threads, resources : those of the rule, where there is no such object: `run:` rules have them under these names.
    dashboard : whether to have Dask's dashboard, on a free port of this machine alone; its link is in the log.

    Raises
    ------
    DaskjqError : where the shape is none, or the rule does not have what it asks for.
    """
    if snakemake is not None:
        threads = snakemake.threads if threads is None else threads
        resources = snakemake.resources if resources is None else resources
    if threads is None:
        raise DaskjqError(
            "dask_client has to know what its rule holds: dask_client(snakemake) in a script or a notebook, "
            "dask_client(threads=threads, resources=resources) in a run: rule."
        )
    given = _given(resources)
    invitation = Invitation.of(os.environ)
    if invitation is not None and shape is None:
        return _with_workers_elsewhere(invitation, dashboard=dashboard)
    if invitation is not None:
        _say("this cluster has a shape of its own: the rule's dask_workers have nothing to do")
    gpus = devices_of(os.environ, _gpus(given))
    own_mb = max(OWN_MB, psutil.Process().memory_info().rss / 1e6 + ABOVE_OWN_MB)
    decided = shape_of(shape or given.get("dask"), int(threads), _mem_mb(given), own_mb, len(gpus))
    _say(f"a Dask cluster of {decided}")
    if decided.memory_mb is not None and decided.memory_mb < SMALL_WORKER_MB:
        _say(
            f"warning: workers of {decided.memory_mb} MB have hardly room for what they import, and may pause "
            "for ever or be started again and again. Give the rule more mem_mb, or fewer workers (docs/dask.md)."
        )
    own_gpus = gpus if decided.workers == len(gpus) else []
    return _with_workers_here(decided, own_gpus, given.get("tmpdir"), dashboard=dashboard)


def _say(text: str) -> None:
    """In the rule's log."""
    print(f"daskjq: {text}", file=sys.stderr, flush=True)


def _with_workers_here(
    shape: Shape, gpus: Sequence[Mapping[str, str]], tmpdir: str | None, *, dashboard: bool
) -> RuleClient:
    folder = tmpdir if tmpdir and os.path.isdir(tmpdir) else None
    scratch = tempfile.TemporaryDirectory("", "daskjq-dask-", folder, ignore_cleanup_errors=True)
    cluster, use = _cluster(
        dashboard=dashboard,
        n_workers=shape.workers,
        threads_per_worker=shape.threads,
        memory_limit="auto" if shape.memory_mb is None else shape.memory_mb * 10**6,
        host="127.0.0.1",
        local_directory=scratch.name,
        **({"gpus": gpus} if gpus else {}),
    )
    client = RuleClient(cluster, use, (shape.workers, shape.threads, shape.memory_mb), clean_up=scratch.cleanup)
    if dashboard:
        _say(f"its dashboard: {client.dashboard_link}")
    return client


def _with_workers_elsewhere(invitation: Invitation, *, dashboard: bool) -> RuleClient:
    """The client of a cluster whose workers are jobs of the run, once as many have come as the rule needs."""
    path = os.path.join(invitation.folder, FILE)
    if _is_taken(path):
        raise DaskjqError(
            "The Dask workers of this rule belong to another dask_client that is still open. Close that one first "
            "(with dask_client(...) as client: ...); a rule may have one after the other."
        )
    # By itself Dask would listen on this machine only.
    where = {"interface": invitation.interface} if invitation.interface else {"host": invitation.host or get_ip()}
    cluster, use = _cluster(dashboard=dashboard, n_workers=0, threads_per_worker=1, **where)
    client = RuleClient(cluster, use, (invitation.count, invitation.threads, invitation.memory_mb), withdraw=path)
    security = cluster.security
    told = {
        "address": cluster.scheduler.address,
        "key": security.tls_client_key,
        "cert": security.tls_client_cert,
        "python": sys.executable,
        "variables": {name: value for name, value in os.environ.items() if not OF_A_JOB.fullmatch(name)},
        "cwd": os.getcwd(),
        "pid": os.getpid(),
        "path": [os.path.abspath(entry) for entry in sys.path],  # what the script imports its workers have to find
    }
    _invite(path, told)
    threading.Thread(target=_watch, args=(invitation.folder, client), name="daskjq-workers", daemon=True).start()
    _say(f"a Dask cluster of up to {invitation.count} workers on pilots; the rule begins with {invitation.least}")
    if dashboard:
        _say(f"its dashboard: {client.dashboard_link}")
    while True:
        try:
            client.wait_for_workers(invitation.least, timeout=TELL_S)
        except TimeoutError:
            come = len(client.nthreads())
            _say(f"{come} of the {invitation.least} workers that it needs have come")
        else:
            return client


def _is_taken(path: str) -> bool:
    """Whether another client of this job has the workers; one that was killed has not."""
    with contextlib.suppress(OSError, ValueError), open(path, encoding="ascii") as file:
        return psutil.pid_exists(json.load(file)["pid"])
    return False


def _watch(folder: str, client: Client) -> None:
    """End this process when there are to be no workers: what waits for them would wait for ever."""
    while client.status not in ("closing", "closed"):
        if is_over(folder):
            _end_without_workers()
        time.sleep(WATCH_S)


def _end_without_workers() -> NoReturn:
    _say("this rule ends, for it can't have its Dask workers. The run's messages say why; their logs lie beside this.")
    sys.stdout.flush()
    os._exit(1)


def _invite(path: str, scheduler: Mapping[str, Any]) -> None:
    """Tell workers where their scheduler is. For this user only: whoever has the key may run code on the workers."""
    try:
        with open(os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
            json.dump(scheduler, file)
        os.replace(f"{path}.new", path)
    except FileNotFoundError:
        _end_without_workers()


def _cluster(*, dashboard: bool, **options: Any) -> tuple[LocalCluster, Use]:
    use = Use()
    with dask.config.set({} if dashboard else NO_PAGES):
        cluster = LocalCluster(
            security=Security.temporary(),  # other users of this machine can reach its ports
            dashboard_address="127.0.0.1:0",  # without one Dask opens its usual port all the same
            worker_class=RuleNanny,
            scheduler_kwargs={"plugins": [use], "dashboard": dashboard},
            **options,
        )
    return cluster, use


class RuleClient(Client):  # type: ignore[misc]
    """A client that ends with its cluster, and leaves behind what that has used (`machine_view.RECORD`).

    `withdraw` is a file that is to be removed before the cluster ends, `clean_up` is called after that.
    """

    def __init__(
        self,
        cluster: LocalCluster,
        use: Use,
        shape: tuple[int, int, int | None],
        *,
        withdraw: str = "",
        clean_up: Callable[[], None] = lambda: None,
    ) -> None:
        self._shape = shape
        self._use = use
        self._withdraw = withdraw
        self._clean_up = clean_up
        self._rule_cluster = cluster
        super().__init__(cluster)
        atexit.register(self.close)  # a script need not

    def close(self, *arguments: Any, **options: Any) -> Any:
        """Close the client and its cluster."""
        ending = self.status not in ("closing", "closed")
        if ending:
            with contextlib.suppress(OSError):
                os.remove(self._withdraw)
            for nanny in self._rule_cluster.workers.values():
                self._use.note_peak(_peak_bytes(nanny.pid))
        closed = super().close(*arguments, **options)
        if ending:
            atexit.unregister(self.close)
            self._rule_cluster.close()
            self._leave_record()
            self._clean_up()
        return closed

    def _leave_record(self) -> None:
        if path := os.environ.get(RECORD):
            used = dict(zip(("workers", "threads", "memory_mb"), self._shape, strict=True))
            # Only for the report: a folder that is gone or full must not fail the rule.
            with contextlib.suppress(OSError), open(path, "a", encoding="ascii") as file:
                file.write(json.dumps({**used, **self._use.figures()}) + "\n")


class Use(SchedulerPlugin):  # type: ignore[misc]
    """What the workers of a scheduler have used, as their heartbeats tell."""

    name = "daskjq-use"

    def __init__(self) -> None:
        self._scheduler: Any = None
        self._tasks = 0
        self._peak_bytes = 0
        self._spilled_bytes = 0
        self._look_at = 0.0

    async def start(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    async def before_close(self) -> None:
        self._look()

    def note_peak(self, size: int) -> None:
        """What a worker has used at most, where heartbeats came too seldom to tell."""
        self._peak_bytes = max(self._peak_bytes, size)

    def transition(self, key: Any, start: str, finish: str, *_: Any, **__: Any) -> None:
        self._tasks += start == "processing" and finish == "memory"
        if (now := time.monotonic()) >= self._look_at:
            self._look_at = now + LOOK_S
            self._look()

    def _look(self) -> None:
        workers = list(self._scheduler.workers.values())
        self._peak_bytes = max([self._peak_bytes, *(worker.memory.process for worker in workers)])
        written = sum(
            amount
            for activity, amount in self._scheduler.cumulative_worker_metrics.items()
            if activity[-2:] == ("disk-write", "bytes")
        )
        self._spilled_bytes = max(self._spilled_bytes, written, sum(worker.memory.spilled for worker in workers))

    def figures(self) -> dict[str, Any]:
        """`tasks` done, `spilled_mb` written to disk, and `peak_mb` of the largest worker (MB of 10^6 bytes)."""
        return {
            "tasks": self._tasks,
            "spilled_mb": round(self._spilled_bytes / 1e6),
            "peak_mb": round(self._peak_bytes / 1e6),
        }


def _peak_bytes(pid: int | None) -> int:
    """The largest resident set that a process has had, as the kernel knows it (proc(5)); 0 where that can't be read."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


class _Starting:
    """The surroundings in which workers are started, as they were before once none is being started any more.

    A worker's process imports the main module of its parent first, which would run a script in it once more, so that
    scripts would need `if __name__ == "__main__"`. The main module of a package is not imported (`multiprocessing.
    spawn._fixup_main_from_name`), and functions of scripts come to workers by value. And Dask sets variables in its own
    process for its workers to inherit, among them the number of threads: they are not meant for the rule.
    """

    def __init__(self) -> None:
        self._depth = 0  # of one event loop
        self._spec: ModuleSpec | None = None
        self._variables: dict[str, str | None] = {}

    def __enter__(self) -> None:
        self._depth += 1
        if self._depth == 1:
            main = sys.modules["__main__"]
            self._spec = getattr(main, "__spec__", None)
            if self._spec is None:
                main.__spec__ = ModuleSpec("__main__", None)
            self._variables = {name: os.environ.get(name) for name in THREAD_VARIABLES}

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            sys.modules["__main__"].__spec__ = self._spec
            for name, value in self._variables.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


_starting = _Starting()


class RuleNanny(Nanny):  # type: ignore[misc]
    """Starts a worker with one thread of BLAS or OpenMP for each of its own, and with a GPU of its own where there is.

    Snakemake exports the rule's threads for these libraries, and Dask leaves alone what it finds: each thread of a
    worker would start as many again. Workers are named by their numbers, by which they get their GPUs.
    """

    def __init__(
        self, *arguments: Any, name: Any, gpus: Sequence[Mapping[str, str]] = (), env: Any = None, **options: Any
    ) -> None:
        threads = dict.fromkeys(THREAD_VARIABLES, "1")
        own = gpus[int(name)] if gpus else {}
        super().__init__(*arguments, name=name, env={**threads, **(env or {}), **own}, **options)
        self.pre_spawn_env.update(threads)  # libraries may be loaded before a worker gets its `env`

    async def instantiate(self) -> Any:
        """Start the worker's process. Raises what Dask raises."""
        with _starting:
            return await super().instantiate()


def devices_of(environment: Mapping[str, str], asked: int = 0) -> list[dict[str, str]]:
    """The variables that show one GPU each, for all that a job was given; none where it has no GPU.

    Where no variable tells, as under Snakemake's local executor, they are the first ones, as many as the rule asks for.
    What ROCR shows is all that HIP sees, and counts.

    >>> devices_of({"CUDA_VISIBLE_DEVICES": "GPU-5a,GPU-7b"})
    [{'CUDA_VISIBLE_DEVICES': 'GPU-5a'}, {'CUDA_VISIBLE_DEVICES': 'GPU-7b'}]
    >>> devices_of({"ROCR_VISIBLE_DEVICES": "2,3", "HIP_VISIBLE_DEVICES": "0,1"})[1]
    {'ROCR_VISIBLE_DEVICES': '3', 'HIP_VISIBLE_DEVICES': '0'}
    >>> devices_of({"CUDA_VISIBLE_DEVICES": "-1"}, asked=1), devices_of({}, asked=2)[1]
    ([], {'CUDA_VISIBLE_DEVICES': '1'})
    """
    given = {name: environment[name].split(",") for name in GPU_VARIABLES if environment.get(name)}
    if not given:
        return [{GPU_VARIABLES[0]: str(number)} for number in range(asked)]
    if any(names == [NO_GPU] for names in given.values()):
        return []
    found = [dict(zip(given, names, strict=True)) for names in zip(*given.values(), strict=False)]
    if "ROCR_VISIBLE_DEVICES" in given and "HIP_VISIBLE_DEVICES" in given:
        found = [{**names, "HIP_VISIBLE_DEVICES": "0"} for names in found]
    return found


def security_of(told: Mapping[str, Any]) -> Security:
    """TLS with the key of one rule's cluster, which is everybody's certificate, and the authority for it."""
    roles = {f"tls_{role}_{part}": told[part] for role in ("scheduler", "worker", "client") for part in ("key", "cert")}
    return Security(require_encryption=True, tls_ca_file=told["cert"], **roles)


def _given(resources: Any) -> dict[str, Any]:
    """A rule's resources by name, whichever of Snakemake's classes they come in."""
    if resources is None:
        return {}
    return dict(resources.items())


def _mem_mb(given: Mapping[str, Any]) -> float | None:
    """What the rule states, as far as this machine has it; None where it states nothing."""
    value = given.get("mem_mb")
    if not isinstance(value, int | float) or value <= 0:
        return None
    return min(float(value), psutil.virtual_memory().total / 1e6)


def _gpus(given: Mapping[str, Any]) -> int:
    """How many GPUs the rule asks for, in whichever words."""
    for name in GPU_NAMES:
        with contextlib.suppress(KeyError, TypeError, ValueError):
            return math.ceil(float(given[name]))
    return 0
