"""All that warm hosts know of Snakemake beyond its command line, from 9.6 to 9.27; checked at each start.

The trick: a host calls Snakemake's own `main` with a job's own arguments, as the cold command would, and
steps in where the parsed workflow is about to be executed. There it forks a child for each job; the child
puts its own targets in and goes on in Snakemake's own code, to the same end and the same exit status.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import importlib
import signal
import sys
import tempfile
import threading
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from . import rehearsal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

JOB_OPTIONS = {
    "target_jobs",
    "allowed_rules",
    "local_groupid",
    "force_use_threads",
    "cores",
    "attempt",
    "unneeded_temp_files",
    "wait_for_files",
    "wait_for_files_file",
    "latency_wait",
}
"""What may differ between two jobs of one context (`latency_wait` is read by `parse_wait_for_files`)."""


LATE_IMPORTS = (
    *("smart_open", "requests", "encodings.idna", "nbformat", "jsonschema", "getpass", "graphlib"),
    *("importlib.resources.readers", "snakemake.storage", "snakemake.benchmark", "snakemake.notebook"),
    *("snakemake.scheduling.greedy", "snakemake.scheduling.job_scheduler", "snakemake.scheduler"),  # last: before 9.10
)
"""What Snakemake imports only when a Snakefile is parsed or a rule runs; without them a job starts, but slower."""


SHELL_STATE = ("_process_args", "_process_prefix", "_process_suffix", "_processes", "conda_block_conflicting_envvars")
"""What `snakemake.shell.shell` keeps for the process."""


PREPARED_NAMES = ("_dag", "_persistence", "iocache")
"""What `Workflow._prepare_dag` sets."""

MAX_PREPARED = 200
"""So many rules at most get their empty DAG from the host."""


class UnexpectedSnakemakeError(Exception):
    """This version of Snakemake is not as this module expects; jobs start colder."""


class Snakemake:
    """Snakemake, imported, with everything loaded that each start would load again."""

    def __init__(self) -> None:
        try:
            import platform

            import snakemake.cli
            import snakemake.dag
            import snakemake.executors.local
            import snakemake.logging
            import snakemake.script
            import snakemake.workflow
            from snakemake.shell import shell

            self._cli = snakemake.cli
            self._workflow_class = snakemake.workflow.Workflow
            self._workflow_globals = vars(snakemake.workflow)
            self._shell = shell
            self._logger = snakemake.logging.logger
            # Older versions set up one for the whole process, and only once.
            self._log_state = vars(getattr(snakemake.logging, "logger_manager", argparse.Namespace()))
            parser = snakemake.cli.get_argument_parser()
            actions = [action for action in parser._actions if action.dest in JOB_OPTIONS]
            self._takes_cache_path = any(a.dest == "runtime_source_cache_path" for a in parser._actions)
        except (ImportError, AttributeError) as error:
            raise UnexpectedSnakemakeError(str(error)) from error
        for module in LATE_IMPORTS:
            with contextlib.suppress(ImportError):
                importlib.import_module(module)
        missing = JOB_OPTIONS - {action.dest for action in actions}
        missing |= {name for name in SHELL_STATE if not hasattr(shell, name)}
        missing |= {"execute", "_prepare_dag"} - vars(snakemake.workflow.Workflow).keys()
        if missing:
            raise UnexpectedSnakemakeError(f"no {', '.join(sorted(missing))}")
        platform.platform()  # it starts `uname`, once; Snakemake asks for it at each start
        platform.processor()
        _hasten_signals()

        def get_argument_parser(profiles: Sequence[str] | None = None) -> Any:
            return parser if profiles is None else make_parser(profiles=profiles)

        make_parser = snakemake.cli.get_argument_parser
        snakemake.cli.get_argument_parser = get_argument_parser
        # Snakemake's own actions, so that values are read exactly as it reads them.
        self._job_parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        for action in actions:
            self._job_parser._add_action(action)

    def main(self, argv: Sequence[str]) -> None:
        """What `python -m snakemake ARGV` does; ends with SystemExit."""
        sys.argv = [self._cli.__file__, *argv]
        self._cli.main(list(argv))

    def rehearse(self) -> None:
        """Run small jobs, so that children find everything warm. Raises UnexpectedSnakemakeError where they fail."""
        # What Snakemake keeps for the whole process: the names of a Snakefile, and how shell commands are run.
        kept = {name: copy.copy(getattr(self._shell, name)) for name in SHELL_STATE}
        names = dict(self._workflow_globals)
        logging, handlers = dict(self._log_state), list(self._logger.handlers)
        try:
            succeeded = rehearsal.rehearse(self.main, takes_cache_path=self._takes_cache_path)
        except OSError:
            succeeded = True  # no room for files: jobs are slower, and no worse
        self._workflow_globals.clear()
        self._workflow_globals.update(names)
        self._log_state |= logging
        self._logger.handlers[:] = handlers
        for name, value in kept.items():
            setattr(self._shell, name, value)
        if not succeeded:
            raise UnexpectedSnakemakeError("it fails with a small job in this process")

    def job_arguments(self, argv: Sequence[str]) -> argparse.Namespace:
        """The arguments of one job. Raises UnexpectedSnakemakeError where Snakemake doesn't take them."""
        try:
            return self._job_parser.parse_args(argv)
        except SystemExit as error:
            raise UnexpectedSnakemakeError(f"it does not take {' '.join(argv)}") from error

    def main_until_parsed(self, argv: Sequence[str], serve: Callable[[ParsedWorkflow], argparse.Namespace]) -> None:
        """Run `main` up to the parsed workflow and call `serve` with it, which returns in children only.

        What it returns are the child's own arguments; the child goes on with them.
        """
        execute = self._workflow_class.execute

        def step_in(workflow: Any, **options: Any) -> Any:
            self._workflow_class.execute = execute
            parsed = ParsedWorkflow(workflow)
            # Older versions log in a thread of their own, which no fork has.
            listener = self._log_state.get("queue_listener")
            if listener is not None:
                listener.stop()
            arguments = serve(parsed)
            if listener is not None:
                listener.start()
            parsed.become(arguments, self._cli.parse_wait_for_files(arguments))
            return execute(workflow, **options)

        self._workflow_class.execute = step_in
        self.main(argv)

    def watch_cores(self, used: Callable[[], None]) -> None:
        """Call `used` when a Snakefile reads `workflow.cores`, which differs between jobs."""
        cores = self._workflow_class.cores

        def read(workflow: Any) -> Any:
            used()
            return cores.fget(workflow)

        self._workflow_class.cores = property(read)


class ParsedWorkflow:
    """A workflow between its parse and its execution."""

    def __init__(self, workflow: Any) -> None:
        self._workflow = workflow
        self._prepared: dict[tuple[Any, ...], _Prepared | None] = {}

    def check(self) -> None:
        """Raises UnexpectedSnakemakeError unless all that `become` changes is there: a child could not go back."""
        workflow = self._workflow
        try:
            for where, attribute in (
                *_own_places(workflow).values(),
                (workflow.execution_settings, "wait_for_files"),
                (workflow.scheduling_settings, "max_jobs_per_timespan"),
                (workflow.storage_registry, "_storages"),
                (workflow._snakemake_tmp_dir, "_finalizer"),
            ):
                getattr(where, attribute)
            if "_cores" not in workflow.global_resources:
                raise KeyError("_cores")
        except (AttributeError, KeyError) as error:
            raise UnexpectedSnakemakeError(str(error)) from error

    @property
    def uses_storage(self) -> bool:
        """Storage providers may hold connections, which no two processes can share."""
        return bool(self._workflow.storage_registry._storages)

    def close(self) -> None:
        """Remove what the parse has put aside; a host ends without Python's own clean-up."""
        self._workflow._snakemake_tmp_dir.cleanup()

    def prepare(self) -> None:
        """Work out for all children what would be the same in each: the header of their log records."""
        header = getattr(self._workflow, "info_header", {})  # older versions have none
        if {"datetime", "cmd", "workflow_id"} <= header.keys():
            type(self._workflow).info_header = property(lambda workflow: header | _own_header(workflow))

    def prepare_for(self, arguments: argparse.Namespace) -> None:
        """Work out for all jobs of the same rule what would be the same in each: their empty DAG and its folders.

        Where that fails, the child does it, and shows why.
        """
        workflow = self._workflow
        key = _rules_of(arguments)
        if key in self._prepared or len(self._prepared) == MAX_PREPARED:
            return
        self._prepared[key] = None  # decided once
        workflow.dag_settings.target_jobs = arguments.target_jobs
        workflow.dag_settings.allowed_rules = arguments.allowed_rules
        options = {
            "forceall": workflow.dag_settings.forceall,
            "ignore_incomplete": workflow.execution_settings.ignore_incomplete,
            "lock_warn_only": workflow.dryrun,
            "nolock": not workflow.execution_settings.lock,
            "shadow_prefix": workflow.execution_settings.shadow_prefix,
        }
        with contextlib.suppress(Exception):
            if not _has_shared_records(workflow):
                return
            workflow._prepare_dag(**options)
            results = {name: getattr(workflow, name) for name in PREPARED_NAMES}
            self._prepared[key] = _Prepared(options, results)

    def become(self, arguments: argparse.Namespace, wait_for_files: Any) -> None:
        """In a child: put in what is its own, and reset what a fork must not share (`check` has looked)."""
        workflow = self._workflow
        for argument, (where, attribute) in _own_places(workflow).items():
            setattr(where, attribute, getattr(arguments, argument))
        workflow.global_resources["_cores"] = arguments.cores
        workflow.execution_settings.wait_for_files = wait_for_files
        workflow.scheduling_settings.max_jobs_per_timespan = None  # it would start a timer, for one job
        if hasattr(workflow, "_async_runners"):  # event loops, from 9.16 on: a child needs one of its own
            workflow._async_runners.clear()
        workflow._snakemake_tmp_dir._finalizer.detach()  # the host's; the child would remove it at its end
        workflow._snakemake_tmp_dir = _LateTemporaryDirectory()
        workflow.start_time = datetime.now()
        if prepared := self._prepared.get(_rules_of(arguments)):
            prepare_dag = workflow._prepare_dag

            def put_in(**options: Any) -> None:
                if options == prepared.options:
                    vars(workflow).update(prepared.results)
                else:
                    prepare_dag(**options)

            workflow._prepare_dag = put_in
        reset_after_fork()


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What `Workflow._prepare_dag` leaves behind, and what it was called with."""

    options: dict[str, Any]
    results: dict[str, Any]


def _rules_of(arguments: argparse.Namespace) -> tuple[Any, ...]:
    """What an empty DAG depends on."""
    return frozenset(arguments.allowed_rules or ()), frozenset(spec.rulename for spec in arguments.target_jobs)


def _own_places(workflow: Any) -> dict[str, tuple[Any, str]]:
    """Where Snakemake keeps the arguments that differ between two jobs: the object, and its attribute."""
    return {
        "target_jobs": (workflow.dag_settings, "target_jobs"),
        "allowed_rules": (workflow.dag_settings, "allowed_rules"),
        "cores": (workflow.resource_settings, "cores"),
        "unneeded_temp_files": (workflow.storage_settings, "unneeded_temp_files"),
        "attempt": (workflow.execution_settings, "attempt"),
        "force_use_threads": (workflow.execution_settings, "use_threads"),
        "local_groupid": (workflow.group_settings, "local_groupid"),
    }


def _has_shared_records(workflow: Any) -> bool:
    """True if the records of all jobs lie in the same plain folder, and no output cache is looked for."""
    from snakemake.settings.types import SharedFSUsage

    backend = getattr(workflow.workflow_settings, "persistence_backend", None)  # older versions have files only
    return (
        workflow.workflow_settings.cache is None
        and getattr(backend, "name", "FILE") == "FILE"
        and SharedFSUsage.PERSISTENCE in workflow.storage_settings.shared_fs_usage
    )


class _LateTemporaryDirectory:
    """A temporary folder that is made when it is first asked for: few jobs put anything into it."""

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def name(self) -> str:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="snakemake")
        return self._folder.name

    def cleanup(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()


def _own_header(workflow: Any) -> dict[str, Any]:
    """What differs between two jobs in `Workflow.info_header`, as it is there."""
    started = workflow.start_time.strftime("%Y-%m-%d %H:%M:%S")
    return {"datetime": started, "cmd": " ".join(sys.argv), "workflow_id": uuid.uuid4()}


def reset_after_fork() -> None:
    """Random numbers of a child's own. Python itself sees to those of `random` and `tempfile`."""
    if numpy := sys.modules.get("numpy.random"):
        numpy.seed()


def _hasten_signals() -> None:
    """Spare `signal.signal` an exception whose text describes the handler, each time one is a function.

    asyncio sets a handler for each coroutine that Snakemake runs: 1 ms a job. The results are the same.
    """
    make_enum = signal._int_to_enum  # type: ignore[attr-defined]

    def int_to_enum(value: Any, enum_class: Any) -> Any:
        return make_enum(value, enum_class) if isinstance(value, int) else value

    signal._int_to_enum = int_to_enum  # type: ignore[attr-defined]


def finish_threads() -> None:
    """Wait for threads as Python does at its end, but not for the timer of Snakemake's rate limit.

    It fires a second after the last job was selected, when nothing is left to select.
    """
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon and not isinstance(thread, threading.Timer):
            thread.join()
