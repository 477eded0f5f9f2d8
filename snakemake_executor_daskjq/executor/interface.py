"""The Snakemake interface: job -> Request and job spec, and the start and end of a run. No policy, no Dask.

Snakemake constructs an executor also where nothing is to be done: a controller is started only where something is, and
the run begins with the first jobs. Until they come, the controller imports Dask and completes the pools.
"""

from __future__ import annotations

import functools
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.real import RealExecutor
from snakemake_interface_executor_plugins.settings import CommonSettings, DeploymentMethod, ExecMode, SharedFSUsage

from .. import batch
from ..config.settings import ExecutorSettings, adopted, check_given_once, check_places, configure
from ..errors import DaskjqError, NotPreparedError, shown
from ..journal.journal import RunFolder
from ..model.machine_view import usable_mb
from ..model.rendezvous import VARIABLE, Invitation
from ..model.request import Command, Launch, Request, WarmStart
from ..resources import mapping
from .environment import AT_START
from .job_arguments import JobArguments
from .remaining_work import look_ahead
from .scheduler_internals import Rounds
from .signals import RunSignals

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from snakemake_interface_executor_plugins.jobs import JobExecutorInterface

    from ..controller.protocol import Admission, Job
    from ..model.pool import Pool
    from ..model.request import DaskWorkers
    from ..resources.migration import Translated
    from .controller import Controller
    from .direct import DirectStarts
    from .peers import Peer

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


WORKER_MODULE = "snakemake_executor_daskjq.rules.worker"

HAND_OVER_S = 0.1
"""Jobs are handed over in batches that take so long to prepare."""


class Executor(RealExecutor):  # type: ignore[misc]
    """Hands jobs to the run's controller; `Reporting` tells of their ends."""

    def __post_init__(self) -> None:
        from .reporting import Reporting  # like all that only a run needs: every start imports this module
        from .resume import Resume

        settings = self.executor_settings or ExecutorSettings()
        self._cores_limit = self.workflow.resource_settings.cores
        try:
            self._config = configure(settings)
            if settings.controller is not None:
                from .peers import config_of

                theirs, self._cores_limit = config_of(settings.controller)
                self._config = adopted(self._config, settings, theirs)
            self._cwd = Path.cwd()  # later a local rule's shadow folder may be
            check_places(self._cwd, self._config)
            check_given_once(sys.argv)
        except DaskjqError as error:
            raise WorkflowError(str(error)) from None
        self._reporting = Reporting(self, keep_logs=self._config.keep_successful_logs)
        self._check_options()
        self._rounds = Rounds(self.workflow, self._config.max_jobs_per_timespan, self._reporting.tell)
        self._folder = RunFolder(self._config.log_folder, cwd=self._cwd)
        self._arguments = JobArguments(self, self._folder, waits=not self._config.local)
        self._controller_name = settings.controller
        self._signals = RunSignals()
        self._direct: DirectStarts | None = None
        self._controller: Controller | None = None
        self._has_begun = False
        self._is_told = False
        self._warned: set[str] = set()
        self._suffix = ""
        self._has_submitted = False
        self._resume = Resume(self.workflow.persistence, self._folder)
        if any(not job.is_local for job in self.workflow.dag.needrun_jobs()):
            self._open_controller()  # what it imports takes a second: Snakemake has something to do meanwhile

    # -- what Snakemake calls ---------------------------------------------------------------------------

    def run_jobs(self, jobs: Sequence[JobExecutorInterface]) -> None:
        """Take over the jobs of a scheduling round."""
        from ..model.job_spec import spec_of
        from ..resources.migration import translate

        controller, pools = self._begun_controller()
        asked = []
        for job in jobs:  # all requests, before the first is told as started
            self._resume.look_for(job)
            own = translate(dict(job.resources.items()), pools)
            if (wanted := self._request(job, own.resources, pools)) is not None:
                asked.append((job, wanted, own))
        self._warn_of_unmet([(request, own) for _, request, own in asked], pools)
        batch: list[Job] = []
        untouched: list[JobExecutorInterface] = []
        begun = time.monotonic()
        for job, request, own in asked:
            if time.monotonic() - begun > HAND_OVER_S:  # the first of many must not wait for the last
                self._submit(controller, batch)
                batch, begun = [], time.monotonic()
            if self._reporting.is_ending:
                untouched.append(job)
                continue
            self._marks.note(job)
            self.run_job_pre(job)
            info = SubmittedJobInfo(job, external_jobid=self._resume.external_jobid(job, request.key))
            try:
                launch = self._launch(job, request, own.environment)
            except OSError as error:
                raise WorkflowError(f"daskjq can't write the logs of rule {request.rule}: {error}") from None
            except NotPreparedError as error:
                self._fail_unstarted(info, request, str(error))
                continue
            self._reporting.add(info, request.rule, launch)
            self.report_job_submission(info)
            worker = "" if request.workers is None else spec_of(self._worker_launch(launch, request.workers)).text
            scripts = () if self._direct is None else self._direct.files_of(request.key)
            claim = self._resume.claim(job, launch, scripts)
            batch.append((request, replace(spec_of(launch), worker=worker), claim))
        self._has_submitted = True
        self._submit(controller, batch)
        if untouched:
            self._reporting.withdrawn(untouched)
        self._signals.renew()

    def run_job(self, job: JobExecutorInterface) -> None:
        self.run_jobs([job])

    def cancel(self) -> None:
        """Snakemake was interrupted: end running jobs, pilots and queued batch jobs."""
        self._stop(cancel=True)

    def shutdown(self) -> None:
        """The workflow is over. After an error of the executor itself, jobs may still run: they are ended."""
        self._stop(cancel=bool(self._reporting.submitted))

    def handle_job_success(self, job: JobExecutorInterface) -> None:
        self._reporting.accepted(job)

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

    # -- start and end ------------------------------------------------------------------------------------

    def _open_controller(self) -> Controller:
        from .controller import Controller
        from .peers import Own, kept, of_name

        asked = self._config, self._cores_limit
        peer: Peer
        try:
            if self._controller_name:
                peer = of_name(self._controller_name, *asked, self._folder)
            else:
                peer = kept(*asked, self._folder, self._reporting.tell) or Own(*asked)
            self._controller = Controller(peer, self._config.lease_s, self._reporting)
        except OSError as error:
            raise WorkflowError(f"daskjq can't start its controller: {error}") from None
        except DaskjqError as error:
            raise WorkflowError(str(error)) from None
        return self._controller

    def _begun_controller(self) -> tuple[Controller, tuple[Pool, ...]]:
        """The controller, whose run begins with the first jobs, and the completed pools."""
        controller = self._controller or self._open_controller()
        try:
            if not self._has_begun:
                # From here on an interrupt finds what it has to end.
                self._has_begun = True
                self._signals.catch()
                self._begin(controller)
            pools = controller.pools()
            if not self._has_submitted:
                self._admitted(controller.admission(), is_on=controller.is_shared or bool(self._config.keep_s))
            return controller, pools
        except DaskjqError as error:
            raise WorkflowError(str(error)) from None
        except OSError as error:
            raise WorkflowError(self._folder.unwritable(error)) from None

    def _admitted(self, admission: Admission, *, is_on: bool) -> None:
        self._suffix = f"@{admission.run}" if admission.run > 1 else ""  # keys are unique among a controller's runs
        self._resume.begin(admission.left, self._marks.is_marked, is_on=is_on)

    def _begin(self, controller: Controller) -> None:
        from ..controller.protocol import Begin
        from .direct import DirectStarts
        from .snakemake_internals import IncompleteMarks

        self._marks = IncompleteMarks(self.workflow)
        self._folder.create()
        folder = self._folder
        controller.begin(Begin(folder.base, folder.name, str(self._cwd), dict(os.environ)), folder)
        controller.learn(look_ahead(self.workflow.dag, self._reporting.warn))
        if self._config.warm_start is WarmStart.DIRECT:
            where = {"local": self._config.local, "may_outlive": controller.is_shared or bool(self._config.keep_s)}
            self._direct = DirectStarts(self.workflow, self._arguments, AT_START, self._marks, **where)
        self._reporting.start(controller, self._direct, self._rounds, self._marks)

    def _submit(self, controller: Controller, batch: list[Job]) -> None:
        """Hand over a batch of jobs; the first one once the Dask scheduler runs, for only then it is known whether."""
        if not self._is_told:
            try:
                dashboard = controller.dashboard()
            except DaskjqError as error:
                raise WorkflowError(str(error)) from None
            self._is_told = True
            self._tell_of_start(controller.pools(), dashboard)
        controller.submit(batch)
        for request, _, _ in batch:
            self._reporting.sent(request.key)
        if self._reporting.is_ending:  # they may have been on their way while that was told
            controller.withdraw()

    def _tell_of_start(self, pools: Sequence[Pool], dashboard: str) -> None:
        if self._controller is not None and self._controller.is_shared:
            named = f"the pilots of controller {self._controller_name} are used."
            left = "an earlier run has left its pilots; they are used."
            self._reporting.tell(named if self._controller_name else left)
        systems = ", ".join(dict.fromkeys(pool.system for pool in pools))
        shapes = "; ".join(map(_described, pools))
        link = f"; dashboard {dashboard}" if dashboard else ""
        self._reporting.tell(f"system {systems}; {shapes}{link}; journal and logs in {self._folder.shown}")
        if not self._config.local:
            self._reporting.tell("'daskjq explain', in another terminal, tells why jobs wait.")

    def _stop(self, *, cancel: bool) -> None:
        if self._controller is None:
            return
        # First: Snakemake cancels after a signal, and must find what it has to end.
        may_stay = bool(self._config.keep_s) and not self._controller_name
        self._signals.hold(self._controller.insist if may_stay else None)
        controller, self._controller = self._controller, None
        if not self._has_begun:
            controller.discard()
            self._signals.restore()
            return
        submitted = self._reporting.submitted
        if cancel:
            pilots = "" if controller.is_shared else " and all pilots"
            if may_stay:
                pilots = "; pilots are kept, and end at a second Ctrl-C"
            self._reporting.tell(f"ending {len(submitted)} jobs{pilots}.")
        stopped = controller.stop(cancel=cancel)
        self._reporting.close()
        for key, job in () if controller.runs_on else self._reporting.left():
            begun = job.is_sent and key not in stopped.waiting and key not in self._reporting.untouched
            self._reporting.interrupted(job, begun=begun)
        if self._direct is not None:
            self._direct.close()
        self._signals.restore()
        for line in stopped.lines:
            self._reporting.tell(line)
        if stopped.is_kept and may_stay:
            self._reporting.tell(f"pilots are kept for {self.executor_settings.keep}; 'daskjq stop' ends them.")

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
            self._reporting.warn("--jobscript has no effect: jobs run on pilots, and have no script of their own.")

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
            "key": self._resume.key_of(job) or f"{job.name}-{job.jobid}-{job.attempt}{self._suffix}",
            "job_id": job.jobid if isinstance(job.jobid, int) else 0,
            "attempt": job.attempt,
            "priority": getattr(job, "priority", 0),
        }
        members = tuple(job.rules) if job.is_group() else ()
        if not members and "dask_workers" in resources and self._is_alone(job):
            resources = {**resources, "dask_workers": 0}
        try:
            return mapping.request_of(resources, pools, members=members, **own)
        except DaskjqError as error:
            if not self._has_submitted:
                raise WorkflowError(str(error)) from None
            self.run_job_pre(job)
            request = Request(**own, amounts=mapping.amounts(resources), runtime_s=mapping.runtime_s(resources))
            self._fail_unstarted(SubmittedJobInfo(job), request, str(error))
            return None

    def _is_alone(self, job: Any) -> bool:
        """Whether others can't be where a job is, in a container or without shared files: then it has Dask workers."""
        deployment = self.workflow.deployment_settings.deployment_method
        is_in_container = DeploymentMethod.APPTAINER in deployment and bool(job.rule.container_img)
        shared = (SharedFSUsage.INPUT_OUTPUT, SharedFSUsage.SOFTWARE_DEPLOYMENT, SharedFSUsage.SOURCES)
        return is_in_container or not all(self._arguments.shares(usage) for usage in shared)

    def _fail_unstarted(self, info: SubmittedJobInfo, request: Request, why: str) -> None:
        """A job fails before it is submitted. Snakemake hears of it as of any other end."""
        if self._controller is not None:
            self._controller.unstarted(request, why)
        if self._direct is not None:
            self._direct.unbegun(info.job)
        self.report_job_submission(info)
        self._reporting.unprepared(info, request.rule, request.key, why)

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
            self._reporting.warn("; ".join(told) + ". The jobs run on the pools that there are.")

    def _tell_of_what_is_beyond(self, jobs: Iterable[tuple[Request, Translated]], pools: Sequence[Pool]) -> None:
        """One line for each kind of resource of which this machine has less than a job asks for."""
        for request, own in jobs:
            pin = own.resources.get("daskjq_pool")
            words = mapping.beyond_this_machine(request)
            if pin and str(pin) not in {pool.name for pool in pools}:
                words["daskjq_pool"] = f"rule {request.rule} asks for daskjq_pool={pin}: it runs on this machine"
            for kind in words.keys() - self._warned:
                self._warned.add(kind)
                self._reporting.warn(f"{words[kind]} (told once for {kind.replace('gpu_percent', 'gpu')}).")

    def _launch(self, job: JobExecutorInterface, request: Request, environment: dict[str, str]) -> Launch:
        """Raises OSError where its log can't be written, NotPreparedError where Snakemake can't prepare the job."""
        launch = Launch(
            key=request.key,
            common_argv=(),
            job_argv=(),
            cwd="",
            log_path=str(self._resume.folder_of(job).job_log(request.rule, request.key).absolute()),
            python="",
            env={**self._declared, **environment},
            warm_start=self._config.warm_start,
            warm_up_s=self._config.warm_up_s,
            amounts=request.amounts,
            beyond=request.beyond,
            runtime_s=request.runtime_s,
            limits=self._config.limits,
        )
        if request.workers is not None:
            launch = self._with_invitation(launch, request.workers)
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

    def _with_invitation(self, launch: Launch, workers: DaskWorkers) -> Launch:
        """A rule's job that learns of its Dask workers; the controller says where they meet."""
        memory_mb = workers.amounts.get("mem_mb")
        invitation = Invitation(
            folder="",
            count=workers.count,
            least=workers.least,
            threads=workers.amounts["cores"],
            memory_mb=None if memory_mb is None else usable_mb(memory_mb),
            interface=self._config.interface or "",
            host="127.0.0.1" if self._config.local and not self._config.interface else "",
        )
        return replace(launch, env={**launch.env, VARIABLE: invitation.text()})

    def _worker_launch(self, launch: Launch, workers: DaskWorkers) -> Launch:
        """What its Dask workers are: each is told its own key and log by the controller."""
        python = self.get_python_executable()
        command = Command(((python, "-P", "-m", WORKER_MODULE),), str(self.workflow.workdir_init))
        return replace(launch, command=command, amounts=workers.amounts, beyond={}, log_path=f"{launch.log_path}.dask")

    @functools.cached_property
    def _declared(self) -> dict[str, str]:
        """The variables that `envvars:` names."""
        return {name: str(value) for name, value in self.envvars().items()}


def _described(pool: Pool) -> str:
    """A pool in the run's first line."""
    count = "this machine" if batch.system(pool.system).is_this_machine else f"at most {pool.max_pilots} pilots"
    nodes = f" of {pool.nodes} nodes, each" if pool.nodes > 1 else ""
    return f"pool {pool.name}: {count}{nodes} with {', '.join(shown(*pair) for pair in pool.amounts.items())}"
