"""The Snakemake interface: job -> Request and Launch, Outcome -> Snakemake's callbacks. No policy.

Snakemake constructs an executor also where nothing is to be done, so nothing is started before the first
jobs come, and Dask is imported then. Ends of jobs are reported from a thread of our own: Snakemake's
callbacks take the scheduler's lock, which it holds while it waits for files; Dask's event loop must not.
"""

from __future__ import annotations

import functools
import os
import queue
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.real import RealExecutor
from snakemake_interface_executor_plugins.settings import CommonSettings, ExecMode, SharedFSUsage

from .. import batch, mapping
from ..errors import DaskjqError, NotPreparedError, shown
from ..journal import RunFolder
from ..model.outcome import End, Outcome
from ..model.request import Command, Launch, Request, WarmStart
from ..settings import ExecutorSettings, check_given_once, check_places, configure
from ..signals import RunSignals
from ..text import printable
from .environment import AT_START
from .job_arguments import JobArguments
from .remaining_work import look_ahead

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from snakemake_interface_executor_plugins.jobs import JobExecutorInterface

    from ..cluster.service import ClusterService
    from ..migration import Translated
    from ..model.pool import Pool
    from .direct import DirectStarts

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


HAND_OVER_S = 0.1
"""Jobs are handed over in batches that take so long to prepare."""


@dataclass(frozen=True, slots=True)
class _Ended:
    """A job's end on its way to Snakemake."""

    info: SubmittedJobInfo
    request: Request
    launch: Launch
    outcome: Outcome
    pilot: str


@dataclass(frozen=True, slots=True)
class _Unprepared:
    """A job that fails before it is submitted, on its way to Snakemake."""

    info: SubmittedJobInfo
    request: Request
    why: str


class Executor(RealExecutor):  # type: ignore[misc]
    """Hands jobs to the run's `ClusterService` and reports their ends."""

    def __post_init__(self) -> None:
        try:
            self._config = configure(self.executor_settings or ExecutorSettings())
            check_places(Path.cwd(), self._config)
            check_given_once(sys.argv)
        except DaskjqError as error:
            raise WorkflowError(str(error)) from None
        self._check_options()
        self._service: ClusterService | None = None
        self._direct: DirectStarts | None = None
        self._folder = RunFolder(self._config.log_folder)
        self._arguments = JobArguments(self, self._folder, waits=not self._config.local)
        self._submitted: dict[str, tuple[SubmittedJobInfo, Launch]] = {}
        self._ended: queue.SimpleQueue[_Ended | _Unprepared | None] = queue.SimpleQueue()
        self._reporting = threading.Thread(target=self._report_ends, name="daskjq-report", daemon=True)
        self._signals = RunSignals()
        self._warned: set[str] = set()
        self._has_submitted = False

    # -- what Snakemake calls ---------------------------------------------------------------------------

    def run_jobs(self, jobs: Sequence[JobExecutorInterface]) -> None:
        """Take over the jobs of a scheduling round."""
        service = self._started_service()
        pools = service.pools
        from ..migration import translate  # like all that only a run needs: every start imports this module

        asked = []
        for job in jobs:  # all requests, before the first is told as started
            own = translate(dict(job.resources.items()), pools)
            if (wanted := self._request(job, own.resources, pools)) is not None:
                asked.append((job, wanted, own))
        self._warn_of_unmet([(request, own) for _, request, own in asked], pools)
        batch: list[tuple[Request, Launch]] = []
        begun = time.monotonic()
        for job, request, own in asked:
            if time.monotonic() - begun > HAND_OVER_S:  # the first of many must not wait for the last
                service.submit(batch)
                batch, begun = [], time.monotonic()
            self.run_job_pre(job)
            info = SubmittedJobInfo(job)
            try:
                launch = self._launch(job, request, own.environment)
            except OSError as error:
                raise WorkflowError(f"daskjq can't write the logs of rule {request.rule}: {error}") from None
            except NotPreparedError as error:
                self._fail_unstarted(info, request, str(error))
                continue
            self._submitted[request.key] = (info, launch)
            self.report_job_submission(info)
            batch.append((request, launch))
        self._has_submitted = True
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
        return snakefile if self._arguments.shares(SharedFSUsage.SOURCES) else os.path.relpath(snakefile)

    @property
    def cores(self) -> int | str:
        """Unused: each job is told its own cores (`job_arguments`)."""
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
        from ..cluster.service import ClusterService
        from .direct import DirectStarts

        try:
            self._folder.create()
            service = ClusterService(
                self._config, self._folder, self, cores_limit=self.workflow.resource_settings.cores
            )
            if self._config.warm_start is WarmStart.DIRECT:
                self._direct = DirectStarts(self.workflow, self._arguments, AT_START, local=self._config.local)
            self._reporting.start()
            # From here on an interrupt finds what it has to end.
            self._service = service
            self._signals.catch()
            service.start()
            service.learn(look_ahead(self.workflow.dag, self.warn))
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
        if self._direct is not None:
            for key, (info, launch) in self._submitted.items():
                if launch.command is not None:
                    self._direct.interrupted(info.job, begun=key in service.begun)
            self._direct.close()
        self._signals.restore()
        self.tell(service.summary.line())
        for line in service.summary.slow_starts():
            self.tell(line)

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

    # -- job -> Request and Launch --------------------------------------------------------------------------

    def _request(
        self, job: JobExecutorInterface, resources: dict[str, object], pools: Sequence[Pool]
    ) -> Request | None:
        """What a job asks for; None where no pool can hold it, and it has failed for that.

        Raises WorkflowError instead as long as nothing of the run has been submitted: a mistake is told at once. Later
        (a retry may ask for more each time) jobs run that must not be ended for it, and others are to come.
        """
        own: dict[str, Any] = {
            "rule": job.name,
            "key": f"{job.name}-{job.jobid}-{job.attempt}",
            "job_id": job.jobid if isinstance(job.jobid, int) else 0,
            "attempt": job.attempt,
            "priority": getattr(job, "priority", 0),
        }
        try:
            return mapping.request_of(resources, pools, members=tuple(job.rules) if job.is_group() else (), **own)
        except DaskjqError as error:
            if not self._has_submitted:
                raise WorkflowError(str(error)) from None
            self.run_job_pre(job)
            request = Request(**own, amounts=mapping.amounts(resources), runtime_s=mapping.runtime_s(resources))
            self._fail_unstarted(SubmittedJobInfo(job), request, str(error))
            return None

    def _fail_unstarted(self, info: SubmittedJobInfo, request: Request, why: str) -> None:
        """A job fails before it is submitted. Snakemake hears of it as of any other end."""
        if self._service is not None:
            self._service.unstarted(request, why)
        if self._direct is not None:
            self._direct.unbegun(info.job)
        self.report_job_submission(info)
        self._ended.put(_Unprepared(info, request, why))

    def _warn_of_unmet(self, jobs: Iterable[tuple[Request, Translated]], pools: Sequence[Pool]) -> None:
        """One warning for all that is new: what jobs ask of Slurm that no pool gives.

        Where this machine is all there is, nobody expects that; what it has too little of is told instead.
        """
        told = []
        if self._config.local:
            self._tell_of_what_is_beyond(jobs, pools)
            return
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

    def _tell_of_what_is_beyond(self, jobs: Iterable[tuple[Request, Translated]], pools: Sequence[Pool]) -> None:
        """One line for each kind of resource of which this machine has less than a job asks for."""
        for request, own in jobs:
            pin = own.resources.get("daskjq_pool")
            words = mapping.beyond_this_machine(request)
            if pin and str(pin) not in {pool.name for pool in pools}:
                words["daskjq_pool"] = f"rule {request.rule} asks for daskjq_pool={pin}: it runs on this machine"
            for kind in words.keys() - self._warned:
                self._warned.add(kind)
                self.warn(f"{words[kind]} (told once for {kind.replace('gpu_percent', 'gpu')}).")

    def _launch(self, job: JobExecutorInterface, request: Request, environment: dict[str, str]) -> Launch:
        """Raises OSError where its log can't be written, NotPreparedError where Snakemake can't prepare the job."""
        launch = Launch(
            key=request.key,
            common_argv=(),
            job_argv=(),
            cwd="",
            log_path=str(self._folder.job_log(request.rule, request.key).absolute()),
            python="",
            env={**self._declared, **environment},
            warm_start=self._config.warm_start,
            warm_up_s=self._config.warm_up_s,
            amounts=request.amounts,
            beyond=request.beyond,
            runtime_s=request.runtime_s,
            limits=self._config.limits,
        )
        if self._direct is not None:
            fewer = request.amounts["cores"] if "cores" in request.beyond else None
            command = self._direct.command(job, request.key, fewer)
            if isinstance(command, Command):
                return replace(launch, command=command)
            launch = replace(launch, warm_start=WarmStart.WORKFLOW, colder_because=command)
        try:
            job_argv = tuple(self._arguments.of_job(job, request))
        except ValueError as error:
            raise NotPreparedError(str(error)) from None
        return replace(
            launch,
            common_argv=self._arguments.common,
            job_argv=job_argv,
            cwd=str(self.workflow.workdir_init) if self._arguments.common_workdir else "",
            storage_prefix=self._arguments.storage_prefix,
            python=self.get_python_executable(),
            precommand=self._arguments.precommand,
        )

    @functools.cached_property
    def _declared(self) -> dict[str, str]:
        """The variables that `envvars:` names."""
        return {name: str(value) for name, value in self.envvars().items()}

    @functools.cached_property
    def _progress(self) -> dict[str, Any]:
        """Marks a log record as progress, so that `--quiet progress` leaves it out."""
        from snakemake.settings.enums import Quietness

        return {"quietness": Quietness.PROGRESS}

    # -- Outcome -> Snakemake -----------------------------------------------------------------------------------

    def _report_ends(self) -> None:
        while (ended := self._ended.get()) is not None:
            success = isinstance(ended, _Ended) and ended.outcome.end is End.SUCCEEDED
            if (service := self._service) is not None:
                service.reported(ended.request.key, success=success)
            try:
                if isinstance(ended, _Ended):
                    self._report_end(ended, success=success)
                else:
                    self._report_error(ended.info, ended.request, printable(ended.why))
            except Exception as error:  # Snakemake must hear of it, or it waits for ever
                self.workflow.scheduler.executor_error_callback(error)

    def _report_end(self, ended: _Ended, *, success: bool) -> None:
        if ended.outcome.warning:
            self.warn(f"a job of rule {ended.request.rule} {ended.outcome.warning}; log: {ended.launch.log_path}")
        unwritten = ""
        if self._direct is not None:
            if success and ended.outcome.benchmark:
                try:
                    self._direct.write_benchmark(ended.info.job, ended.request.key, ended.outcome.benchmark)
                except Exception as error:  # of any kind: params have whatever the user puts in
                    unwritten = f"its benchmark can't be written: {error}"
            self._direct.ended(ended.request.key)
        if unwritten:
            self._report_error(ended.info, ended.request, printable(unwritten))
        elif success:
            self.report_job_success(ended.info)
        else:
            self._report_failure(ended)

    def _report_failure(self, ended: _Ended) -> None:
        outcome = ended.outcome
        message = f"{outcome.reason()} on pilot {ended.pilot}; log: {ended.launch.log_path}"
        if outcome.log_tail:
            message += "\n    last lines of the log:\n" + "\n".join(
                f"        {line}" for line in outcome.log_tail.splitlines()
            )
        self._report_error(ended.info, ended.request, printable(message), aux_logs=[ended.launch.log_path])

    def _report_error(self, info: SubmittedJobInfo, request: Request, message: str, **more: Any) -> None:
        if info.job.is_group():
            self.logger.error(f"daskjq: group {request.rule}: {message}")  # Snakemake shows no message there
        self.report_job_error(info, msg=message, **more)


def _described(pool: Pool) -> str:
    """A pool in the run's first line."""
    count = "this machine" if batch.system(pool.system).is_this_machine else f"at most {pool.max_pilots} pilots"
    nodes = f" of {pool.nodes} nodes, each" if pool.nodes > 1 else ""
    return f"pool {pool.name}: {count}{nodes} with {', '.join(shown(*pair) for pair in pool.amounts.items())}"
