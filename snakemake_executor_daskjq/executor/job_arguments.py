"""The arguments of the `python -m snakemake` that a job is, where it is not started directly."""

from __future__ import annotations

import functools
import shlex
import sys
from typing import TYPE_CHECKING

from snakemake_interface_executor_plugins.settings import SharedFSUsage

from ..model.target_spec import encode_target_jobs

if TYPE_CHECKING:
    from snakemake_interface_executor_plugins.executors.real import RealExecutor
    from snakemake_interface_executor_plugins.jobs import JobExecutorInterface

    from ..journal.journal import RunFolder
    from ..model.request import Request

MANY_FILES = 20


class JobArguments:
    """Works out what `RealExecutor.format_job_exec` says, as lists: no shell reads wildcards and file names.

    `waits`: pilots may be on other machines, whose view of a shared file system may lag behind.
    """

    def __init__(self, executor: RealExecutor, folder: RunFolder, *, waits: bool) -> None:
        self._executor = executor
        self._workflow = executor.workflow
        self._folder = folder
        self._waits = waits

    def of_job(self, job: JobExecutorInterface, request: Request) -> list[str]:
        """As `RealExecutor.get_job_args`. Raises ValueError where a command line can't tell which job it is."""
        arguments = ["--target-jobs", *encode_target_jobs(job.get_target_spec())]
        arguments += ["--allowed-rules", *job.rules]
        arguments += ["--local-groupid", job.jobid] if job.is_group() else ["--force-use-threads"]
        arguments += [*self._cores(job, request), "--attempt", job.attempt]
        # One that looks like an option can't be told, and need not be: what no storage has, the main process removes.
        if unneeded := [file for file in self._workflow.dag.get_unneeded_temp_files(job) if not _is_like_option(file)]:
            arguments += ["--unneeded-temp-files", *unneeded]
        if self._waits and self.shares(SharedFSUsage.INPUT_OUTPUT) and (files := list(job.get_wait_for_files())):
            arguments += self._wait_for(files, request)
        return [str(argument) for argument in arguments]  # Snakemake's own string types know the whole workflow

    def _wait_for(self, files: list[str], request: Request) -> list[str]:
        """Many files go into a file of their own, for a command line has a limit, and so do names like options."""
        listed = [file for file in files if len(files) > MANY_FILES or _is_like_option(file)]
        arguments = ["--wait-for-files", *(file for file in files if file not in listed)] if files != listed else []
        if listed:
            listing = self._folder.job_log(request.rule, request.key).with_suffix(".wait").absolute()
            listing.write_text("".join(f"{file}\n" for file in listed))
            arguments += ["--wait-for-files-file", str(listing)]
        return arguments

    def _cores(self, job: JobExecutorInterface, request: Request) -> list[str]:
        """What the job's Snakemake takes for `--cores`, and so for `workflow.cores`.

        As with stock executors, it is the run's own number where the user gives one: rules may work out threads and
        params from it. A job then holds fewer, and where it gets fewer than its rule names, it must not use more.
        Without a number, it is what the job holds.
        """
        held, named = request.amounts["cores"], int(job.resources["_cores"])
        of_run = self._workflow.resource_settings.cores
        if of_run is not None and of_run < sys.maxsize:
            least = ["--max-threads", str(held)] if held < named and not job.is_group() else []
            return ["--cores", str(of_run), *least]
        # What a pipe or a service connects must run at the same time, and so it does where there are fewer cores.
        connected = job.is_group() and any(member.pipe_group is not None for member in job.jobs)
        return ["--cores", str(max(held, named) if connected else held)]

    @functools.cached_property
    def common(self) -> tuple[str, ...]:
        """Arguments that all jobs of the run share."""
        from . import quoting  # only a run needs it, and every start imports this module

        factory = self._workflow.spawned_job_args_factory
        with quoting.exact():
            general = factory.general_args(executor_common_settings=self._executor.common_settings)
        snakefile = str(self._executor.get_snakefile())
        return (
            *("--snakefile", f"./{snakefile}" if _is_like_option(snakefile) else snakefile),
            *shlex.split(general),
            *("--scheduler", "greedy"),  # a solver has nothing to choose from in one job
            # A rule's own `retries` belong to the main process, which asks for new resources at each attempt;
            # without this the child would try again within the old ones.
            *("--preemptible-rules", "--preemptible-retries", "0"),
            *("--quiet", "progress", "rules", "host"),
            *("--mode", self._executor.get_exec_mode().item_to_choice()),
        )

    @functools.cached_property
    def common_workdir(self) -> bool:
        """Whether jobs run in the run's working directory; if not, in a folder of their own."""
        return self._workflow.storage_settings.assume_common_workdir or self.shares(SharedFSUsage.SOURCES)

    @functools.cached_property
    def storage_prefix(self) -> str:
        """Where a job puts its copies of stored files, if it has its own."""
        if self.shares(SharedFSUsage.STORAGE_LOCAL_COPIES):
            return ""
        return str(self._workflow.storage_settings.remote_job_local_storage_prefix)

    @functools.cached_property
    def precommand(self) -> str:
        if self.common_workdir:  # what could be deployed is there, and in use
            return self._workflow.remote_execution_settings.precommand or ""
        from . import quoting

        factory = self._workflow.spawned_job_args_factory
        with quoting.exact():
            return str(
                factory.precommand(
                    executor_common_settings=self._executor.common_settings,
                    python_executable=self._executor.get_python_executable(),
                )
            )

    def shares(self, usage: SharedFSUsage) -> bool:
        return usage in self._workflow.storage_settings.shared_fs_usage


def _is_like_option(file: str) -> bool:
    return file.startswith("-")
