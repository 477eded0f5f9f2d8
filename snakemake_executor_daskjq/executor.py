"""The Snakemake interface: job -> Request and Launch, Outcome -> Snakemake's callbacks. No policy.

Snakemake constructs an executor also where nothing is to be done, so nothing is started before the first
jobs come, and Dask is imported then. Ends of jobs are reported from a thread of our own: Snakemake's
callbacks take the scheduler's lock, which it holds while it waits for files; Dask's event loop must not.
"""

from __future__ import annotations

import functools
import os
import queue
import shlex
import sys
import threading
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.real import RealExecutor
from snakemake_interface_executor_plugins.settings import CommonSettings, ExecMode, SharedFSUsage
from snakemake_interface_executor_plugins.utils import encode_target_jobs_cli_args

from . import mapping
from .errors import DaskjqError, shown
from .journal import RunFolder
from .model.outcome import End, Outcome
from .model.request import Launch, Outlook, Request
from .settings import ExecutorSettings, configure
from .signals import RunSignals
from .text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from snakemake_interface_executor_plugins.jobs import JobExecutorInterface

    from .cluster.service import ClusterService
    from .migration import Translated
    from .model.pool import Pool

common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=False,
    job_deploy_sources=True,  # where they are not shared, nothing else would bring them
    pass_default_storage_provider_args=True,
    pass_default_resources_args=True,
    pass_envvar_declarations_to_cmd=False,  # secrets go with the request, never on a command line
    auto_deploy_default_storage_provider=False,  # pilots have the environment that daskjq is installed in
    pass_group_args=True,
)


MANY_FILES = 20


@dataclass(frozen=True, slots=True)
class _Ended:
    """A job's end on its way to Snakemake."""

    info: SubmittedJobInfo
    request: Request
    launch: Launch
    outcome: Outcome
    pilot: str


class Executor(RealExecutor):  # type: ignore[misc]
    """Hands jobs to the run's `ClusterService` and reports their ends."""

    def __post_init__(self) -> None:
        try:
            self._config = configure(self.executor_settings or ExecutorSettings())
        except DaskjqError as error:
            raise WorkflowError(str(error)) from None
        self._check_options()
        self._service: ClusterService | None = None
        self._folder = RunFolder(self._config.log_folder)
        self._submitted: dict[str, tuple[SubmittedJobInfo, Launch]] = {}
        self._ended: queue.SimpleQueue[_Ended | None] = queue.SimpleQueue()
        self._reporting = threading.Thread(target=self._report_ends, name="daskjq-report", daemon=True)
        self._signals = RunSignals()
        self._warned: set[str] = set()

    # -- what Snakemake calls ---------------------------------------------------------------------------

    def run_jobs(self, jobs: Sequence[JobExecutorInterface]) -> None:
        """Take over all jobs of a scheduling round at once."""
        service = self._started_service()
        pools = service.pools
        from .migration import translate  # like all that only a run needs: every start imports this module

        asked = [translate(dict(job.resources.items()), pools) for job in jobs]
        # All requests, before the first is told as started.
        requests = [self._request(job, own.resources, pools) for job, own in zip(jobs, asked, strict=True)]
        self._warn_of_unmet(zip(requests, asked, strict=True), pools)
        batch = []
        for job, request, own in zip(jobs, requests, asked, strict=True):
            self.run_job_pre(job)
            try:
                launch = self._launch(job, request, own.environment)
            except OSError as error:
                raise WorkflowError(f"daskjq can't write the logs of rule {request.rule}: {error}") from None
            info = SubmittedJobInfo(job)
            self._submitted[request.key] = (info, launch)
            self.report_job_submission(info)
            batch.append((request, launch))
        service.submit(batch)

    def run_job(self, job: JobExecutorInterface) -> None:
        self.run_jobs([job])

    def cancel(self) -> None:
        """Snakemake was interrupted: end running jobs, pilots and queued batch jobs."""
        self._stop(cancel=True)

    def shutdown(self) -> None:
        """The workflow is over. After an error of the executor itself, jobs may still run: they are ended."""
        self._stop(cancel=bool(self._submitted))

    def get_exec_mode(self) -> ExecMode:
        return ExecMode.REMOTE

    def get_python_executable(self) -> str:
        """The one that pilots are started with, whatever else may not be shared."""
        return sys.executable

    def get_snakefile(self) -> str:
        """Sources that are deployed lie below the working directory."""
        snakefile = str(super().get_snakefile())
        return snakefile if self._shares(SharedFSUsage.SOURCES) else os.path.relpath(snakefile)

    @property
    def cores(self) -> int | str:
        """Unused: each job is told its own cores (`_job_arguments`)."""
        return self.workflow.resource_settings.cores or "all"

    # -- what the dispatcher says (Reporter); called in its thread ----------------------------------------

    def job_ended(self, request: Request, outcome: Outcome, pilot: str) -> None:
        info, launch = self._submitted.pop(request.key)
        self._ended.put(_Ended(info, request, launch, outcome, pilot))

    def tell(self, text: str) -> None:
        self.logger.info(f"daskjq: {printable(text)}", extra=self._progress)

    def warn(self, text: str) -> None:
        self.logger.warning(f"daskjq: {printable(text)}")

    def give_up(self, error: DaskjqError) -> None:
        self.workflow.scheduler.executor_error_callback(WorkflowError(f"daskjq: {printable(str(error))}"))

    # -- start and end ------------------------------------------------------------------------------------

    def _started_service(self) -> ClusterService:
        if self._service is not None:
            return self._service
        from .cluster.service import ClusterService

        try:
            self._folder.create()
            service = ClusterService(
                self._config, self._folder, self, cores_limit=self.workflow.resource_settings.cores
            )
            self._reporting.start()
            # From here on an interrupt finds what it has to end.
            self._service = service
            self._signals.catch()
            service.start()
            service.learn(self._outlook())
        except DaskjqError as error:
            raise WorkflowError(str(error)) from None
        except OSError as error:
            raise WorkflowError(f"daskjq can't write its folder {self._folder.path}: {error}") from None
        systems = ", ".join(dict.fromkeys(pool.system for pool in service.pools))
        pools = "; ".join(_described(pool) for pool in service.pools)
        dashboard = f"; dashboard {service.dashboard_link}" if service.dashboard_link else ""
        self.tell(f"system {systems}; {pools}{dashboard}; journal and logs in {self._folder.path}")
        if not self._config.local:
            self.tell("'daskjq explain', in another terminal, tells why jobs wait.")
        return service

    def _stop(self, *, cancel: bool) -> None:
        if self._service is None:
            return
        self._signals.hold()  # first: Snakemake cancels after a signal, and must find what it has to end
        service, self._service = self._service, None
        if cancel:
            self.tell(f"ending {len(self._submitted)} jobs and all pilots.")
        service.stop(cancel=cancel)
        self._ended.put(None)
        if threading.current_thread() is not self._reporting:
            self._reporting.join(timeout=5)
        self._signals.restore()
        self.tell(service.summary.line())

    def _check_options(self) -> None:
        """Options of Snakemake that are about batch jobs of rules. Raises WorkflowError for what can't work."""
        remote = self.workflow.remote_execution_settings
        if remote.immediate_submit:
            raise WorkflowError(
                "daskjq can't work with --immediate-submit, which hands over all jobs at once and leaves their order "
                "to the batch system: pilots take a job when its inputs are there. Leave the option out; Snakemake "
                "has to run as long as the workflow does."
            )
        if remote.jobscript is not None:
            self.warn("--jobscript has no effect: jobs run on pilots, and have no script of their own.")

    def _outlook(self) -> Outlook:
        """One walk over the DAG, at the start only: it may have 100,000 jobs. A group is one job."""
        dag = self.workflow.dag
        names: dict[int, str] = {}  # of groups Snakemake puts them together at each call
        jobs: Counter[str] = Counter()
        follows: defaultdict[str, set[str]] = defaultdict(set)
        is_open_ended = False

        def name_of(job: Any) -> str:
            unit = dag.get_job_group(job) if job.group else None
            if unit is None:
                unit = job
            if id(unit) not in names:
                names[id(unit)] = unit.name
                if not unit.is_local:
                    jobs[unit.name] += 1
            return names[id(unit)]

        for job in dag.needrun_jobs():
            name = name_of(job)
            is_open_ended = is_open_ended or job.is_checkpoint
            for earlier in dag.dependencies[job]:
                if dag.needrun(earlier) and (earlier_name := name_of(earlier)) != name:
                    follows[earlier_name].add(name)
        return Outlook(dict(jobs), {name: frozenset(after) for name, after in follows.items()}, is_open_ended)

    # -- job -> Request and Launch --------------------------------------------------------------------------

    def _request(self, job: JobExecutorInterface, resources: dict[str, object], pools: Sequence[Pool]) -> Request:
        try:
            return mapping.request_of(
                resources,
                pools,
                rule=job.name,
                members=tuple(job.rules) if job.is_group() else (),
                key=f"{job.name}-{job.jobid}-{job.attempt}",
                job_id=job.jobid if isinstance(job.jobid, int) else 0,
                attempt=job.attempt,
                priority=getattr(job, "priority", 0),
            )
        except DaskjqError as error:
            raise WorkflowError(str(error)) from None

    def _warn_of_unmet(self, jobs: Iterable[tuple[Request, Translated]], pools: Sequence[Pool]) -> None:
        """One warning for all that is new: what jobs ask of Slurm that no pool gives."""
        told = []
        for request, own in jobs:
            unmet = mapping.unmet_labels(own.resources, [pool for pool in pools if request.may_use(pool.name)])
            alone = set(mapping.unmet_labels(own.resources, pools))
            which = [f"{one}, which no pool gives{'' if one in alone else ' together with the rest'}" for one in unmet]
            for words in (*which, *own.passed_over):
                if words not in self._warned:
                    self._warned.add(words)
                    told.append(f"rule {request.rule} asks for {words}")
        if told:
            self.warn("; ".join(told) + ". The jobs run on the pools that there are.")

    def _launch(self, job: JobExecutorInterface, request: Request, environment: dict[str, str]) -> Launch:
        return Launch(
            key=request.key,
            common_argv=self._common_arguments,
            job_argv=tuple(self._job_arguments(job, request)),
            cwd=str(self.workflow.workdir_init) if self._common_workdir else "",
            storage_prefix=self._storage_prefix,
            log_path=str(self._folder.job_log(request.rule, request.key).absolute()),
            python=self.get_python_executable(),
            precommand=self._precommand,
            env={**self._environment, **environment},
            warm_start=self._config.warm_start,
            amounts=request.amounts,
            runtime_s=request.runtime_s,
            limits=self._config.limits,
        )

    def _job_arguments(self, job: JobExecutorInterface, request: Request) -> list[str]:
        """What `RealExecutor.get_job_args` says, as a list: no shell reads wildcards and file names."""
        arguments = ["--target-jobs", *encode_target_jobs_cli_args(job.get_target_spec())]
        arguments += ["--allowed-rules", *job.rules]
        arguments += ["--local-groupid", job.jobid] if job.is_group() else ["--force-use-threads"]
        arguments += ["--cores", _cores(job, request), "--attempt", job.attempt]
        if unneeded := list(self.workflow.dag.get_unneeded_temp_files(job)):
            arguments += ["--unneeded-temp-files", *unneeded]
        # On this machine the files are there; elsewhere the file system may lag behind.
        waits = not self._config.local and self._shares(SharedFSUsage.INPUT_OUTPUT)
        if waits and (files := list(job.get_wait_for_files())):
            arguments += self._wait_for(files, request)
        return [str(argument) for argument in arguments]  # Snakemake's own string types know the whole workflow

    def _wait_for(self, files: list[str], request: Request) -> list[str]:
        """Many files go into a file of their own: a command line has a limit."""
        if len(files) <= MANY_FILES:
            return ["--wait-for-files", *files]
        listing = self._folder.job_log(request.rule, request.key).with_suffix(".wait").absolute()
        listing.write_text("".join(f"{file}\n" for file in files))
        return ["--wait-for-files-file", str(listing)]

    @functools.cached_property
    def _common_arguments(self) -> tuple[str, ...]:
        """Arguments that all jobs of the run share."""
        general = self.workflow.spawned_job_args_factory.general_args(executor_common_settings=self.common_settings)
        return (
            *("--snakefile", str(self.get_snakefile())),
            *shlex.split(general),
            *("--scheduler", "greedy"),  # a solver has nothing to choose from in one job
            # A rule's own `retries` belong to the main process, which asks for new resources at each attempt;
            # without this the child would try again within the old ones.
            *("--preemptible-rules", "--preemptible-retries", "0"),
            *("--quiet", "progress", "rules", "host"),
            *("--mode", self.get_exec_mode().item_to_choice()),
        )

    @functools.cached_property
    def _common_workdir(self) -> bool:
        """Whether jobs run in the run's working directory; if not, in a folder of their own."""
        return self.workflow.storage_settings.assume_common_workdir or self._shares(SharedFSUsage.SOURCES)

    @functools.cached_property
    def _storage_prefix(self) -> str:
        """Where a job puts its copies of stored files, if it has its own."""
        if self._shares(SharedFSUsage.STORAGE_LOCAL_COPIES):
            return ""
        return str(self.workflow.storage_settings.remote_job_local_storage_prefix)

    @functools.cached_property
    def _precommand(self) -> str:
        if self._common_workdir:  # what could be deployed is there, and in use
            return self.workflow.remote_execution_settings.precommand or ""
        factory = self.workflow.spawned_job_args_factory
        return str(
            factory.precommand(
                executor_common_settings=self.common_settings, python_executable=self.get_python_executable()
            )
        )

    @functools.cached_property
    def _environment(self) -> dict[str, str]:
        return {name: str(value) for name, value in self.envvars().items()}

    def _shares(self, usage: SharedFSUsage) -> bool:
        return usage in self.workflow.storage_settings.shared_fs_usage

    @functools.cached_property
    def _progress(self) -> dict[str, Any]:
        """Marks a log record as progress, so that `--quiet progress` leaves it out."""
        from snakemake.settings.enums import Quietness

        return {"quietness": Quietness.PROGRESS}

    # -- Outcome -> Snakemake -----------------------------------------------------------------------------------

    def _report_ends(self) -> None:
        while (ended := self._ended.get()) is not None:
            service = self._service
            success = ended.outcome.end is End.SUCCEEDED
            if ended.outcome.warning:
                self.warn(f"a job of rule {ended.request.rule} {ended.outcome.warning}; log: {ended.launch.log_path}")
            if service is not None:
                service.reported(ended.request.key, success=success)
            try:
                if success:
                    self.report_job_success(ended.info)
                else:
                    self._report_failure(ended)
            except Exception as error:  # Snakemake must hear of it, or it waits for ever
                self.workflow.scheduler.executor_error_callback(error)

    def _report_failure(self, ended: _Ended) -> None:
        outcome = ended.outcome
        message = f"{outcome.reason()} on pilot {ended.pilot}; log: {ended.launch.log_path}"
        if outcome.log_tail:
            message += "\n    last lines of the log:\n" + "\n".join(
                f"        {line}" for line in outcome.log_tail.splitlines()
            )
        message = printable(message)
        if ended.info.job.is_group():
            self.logger.error(f"daskjq: group {ended.request.rule}: {message}")  # Snakemake shows no message there
        self.report_job_error(ended.info, msg=message, aux_logs=[ended.launch.log_path])


def _cores(job: JobExecutorInterface, request: Request) -> int:
    """Cores that the job's Snakemake deals out: what the job holds.

    What a pipe or a service connects must run at the same time, and so it does where there are fewer cores.
    """
    cores = request.amounts["cores"]
    connected = job.is_group() and any(member.pipe_group is not None for member in job.jobs)
    return max(cores, int(job.resources["_cores"])) if connected else cores


def _described(pool: Pool) -> str:
    """A pool in the run's first line."""
    count = "this machine" if pool.system == "local" else f"at most {pool.max_pilots} pilots"
    nodes = f" of {pool.nodes} nodes, each" if pool.nodes > 1 else ""
    return f"pool {pool.name}: {count}{nodes} with {', '.join(shown(*pair) for pair in pool.amounts.items())}"
