"""All that fork servers know of Snakemake beyond its command line, from 9.6 to 9.27; checked at each start.

The trick: a fork server calls Snakemake's own `main` with a job's own arguments, as the cold command would, and
steps in where the parsed workflow is about to be executed. There it forks a child for each job; the child
puts its own targets in and goes on in Snakemake's own code, to the same end and the same exit status. What only
makes that faster, and can be left out, is in `shortcuts`.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import importlib
import sys
import tempfile
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from . import python_internals, rehearsal, shortcuts

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
"""What may differ between two jobs of one context (`parse_wait_for_files` reads the last two)."""


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

PREPARED_HEADER = "daskjq_info_header"
"""The attribute of a workflow that holds its `info_header`, worked out before the fork."""

_NO_STATE = frozenset(("module_globals", "ruleinfo", "workflow"))
"""Attributes of a rule that are looked at otherwise, or hold what others do."""

MAX_PREPARED = 200
"""So many rules at most get their empty DAG from the fork server."""


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
            self._workflow_globals: dict[str, Any] = vars(snakemake.workflow)
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
        missing |= {"execute", "cores", "_prepare_dag"} - vars(snakemake.workflow.Workflow).keys()
        if missing:
            raise UnexpectedSnakemakeError(f"no {', '.join(sorted(missing))}")
        platform.platform()  # it starts `uname`, once; Snakemake asks for it at each start
        platform.processor()
        shortcuts.take()
        self._serve: Callable[[ParsedWorkflow], None] | None = None
        self._cores_read: Callable[[], None] | None = None
        self._step_in()

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

    def rehearse(self, tmpdirs: str) -> None:
        """Run small jobs, with their files in `tmpdirs`, so that children find everything warm.

        Raises UnexpectedSnakemakeError where they fail.
        """
        # What Snakemake keeps for the whole process: the names of a Snakefile, and how shell commands are run.
        kept = {name: copy.copy(getattr(self._shell, name)) for name in SHELL_STATE}
        names = dict(self._workflow_globals)
        logging, handlers = dict(self._log_state), list(self._logger.handlers)
        try:
            succeeded = rehearsal.rehearse(self.main, tmpdirs, takes_cache_path=self._takes_cache_path)
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
        except (Exception, SystemExit) as error:  # Snakemake's own actions raise what they like
            why = "" if isinstance(error, SystemExit) else f" ({error})"
            raise UnexpectedSnakemakeError(f"it does not take {' '.join(argv)}{why}") from error

    def main_until_parsed(self, argv: Sequence[str], serve: Callable[[ParsedWorkflow], None]) -> None:
        """Run `main` up to the parsed workflow and call `serve` with it, which returns in children only.

        A child goes on with what the workflow has become before the fork.
        """
        self._serve = serve
        self.main(argv)

    @property
    def names(self) -> dict[str, Any]:
        """Those of Snakefiles: each finds what Snakemake has put there, and adds its own."""
        return self._workflow_globals

    def watch_cores(self, used: Callable[[], None]) -> None:
        """Call `used` when a Snakefile reads `workflow.cores`, which differs between jobs."""
        self._cores_read = used

    def _step_in(self) -> None:
        """Put our own steps around what Snakemake's workflow does.

        Once, and before the rehearsal: what Python finds out about a class is lost when the class changes.
        """
        workflow_class = self._workflow_class
        execute, cores = workflow_class.execute, workflow_class.cores
        header: Any = getattr(workflow_class, "info_header", None)  # older versions have none

        def step_in(workflow: Any, *arguments: Any, **options: Any) -> Any:
            if self._serve is not None:
                serve, self._serve = self._serve, None
                self._serve_from(workflow, serve)
            return execute(workflow, *arguments, **options)

        def read_cores(workflow: Any) -> Any:
            if self._cores_read is not None:
                self._cores_read()
            return cores.fget(workflow)

        def info_header(workflow: Any) -> Any:
            return vars(workflow).get(PREPARED_HEADER) or header.fget(workflow)

        workflow_class.execute = step_in
        workflow_class.cores = property(read_cores)
        if header is not None:
            workflow_class.info_header = property(info_header)

    def _serve_from(self, workflow: Any, serve: Callable[[ParsedWorkflow], None]) -> None:
        parsed = ParsedWorkflow(workflow)
        # Older versions log in a thread of their own, which no fork has.
        listener = self._log_state.get("queue_listener")
        if listener is not None:
            listener.stop()
        serve(parsed)
        if listener is not None:
            listener.start()
        parsed.go_on(self._cli.parse_wait_for_files)


class ParsedWorkflow:
    """A workflow between its parse and its execution."""

    def __init__(self, workflow: Any) -> None:
        self._workflow = workflow
        self._places: dict[str, tuple[Any, str]] = {}
        self._header: dict[str, Any] = {}
        self._folders: list[Any] = []
        self._arguments = argparse.Namespace()
        self._prepare_dag = workflow._prepare_dag
        self._prepared: dict[tuple[Any, ...], _Prepared | None] = {}
        self._next: _Prepared | None = None

    def check(self) -> None:
        """Raises UnexpectedSnakemakeError unless all that `become` changes is there: a child could not go back."""
        workflow = self._workflow
        try:
            # Before 9.14, the cache of sources is each process' own.
            folders = workflow._snakemake_tmp_dir, workflow.sourcecache.runtime_cache
            self._folders = [folder for folder in folders if folder is not None]
            self._places = _own_places(workflow)
            for where, attribute in (
                *self._places.values(),
                (workflow.storage_registry, "_storages"),
                *((folder, "_finalizer") for folder in self._folders),
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

    @property
    def descriptors(self) -> set[int]:
        """The files that Snakemake has opened for event loops, which a child replaces (`go_on`)."""
        found: set[int] = set()
        for runner in getattr(self._workflow, "_async_runners", {}).values():
            found |= python_internals.descriptors_of(getattr(runner, "_loop", None))
        return found

    def state(self) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
        """The names that any Snakefile has, those of this one and of its modules, and what its rules hold."""
        workflow = self._workflow
        vanilla: dict[str, Any] = getattr(workflow, "vanilla_globals", {})
        namespaces = {id(workflow.globals): workflow.globals}
        rules: dict[str, Any] = {}
        for rule in workflow.rules:
            names = getattr(rule, "module_globals", None) or getattr(rule.run_func, "__globals__", None) or {}
            namespaces.setdefault(id(names), names)
            rules |= {f"rule {rule.name}: {name}": value for name, value in vars(rule).items() if name not in _NO_STATE}
        return vanilla, list(namespaces.values()), rules

    def close(self) -> None:
        """Remove what the parse has put aside; a fork server ends without Python's own clean-up."""
        for folder in self._folders:
            folder.cleanup()

    def prepare(self) -> None:
        """Put in what is the same in all children (`check` has looked)."""
        workflow = self._workflow
        header = getattr(workflow, "info_header", {})  # older versions have none
        if {"datetime", "cmd", "workflow_id"} <= header.keys():
            self._header = header
        for folder in self._folders:
            folder._finalizer.detach()  # it is the fork server's; a child would remove it at its end
        workflow._snakemake_tmp_dir = _LateTemporaryDirectory()
        workflow._prepare_dag = self._put_in
        shortcuts.share_loops(workflow)

    def become(self, arguments: argparse.Namespace) -> None:
        """Put in what is a job's own; in the fork server, just before the fork."""
        workflow = self._workflow
        self._arguments = arguments
        for argument, (where, attribute) in self._places.items():
            setattr(where, attribute, getattr(arguments, argument))
        workflow.global_resources["_cores"] = arguments.cores
        workflow.start_time = datetime.now()
        if self._header:
            vars(workflow)[PREPARED_HEADER] = self._header | _own_header(workflow)
        key = _rules_of(arguments)
        if key not in self._prepared and len(self._prepared) < MAX_PREPARED:
            self._prepared[key] = self._empty_dag()
        self._next = self._prepared.get(key)

    def go_on(self, parse_wait_for_files: Callable[[argparse.Namespace], Any]) -> None:
        """In a child: what can't be done before the fork."""
        workflow = self._workflow
        if hasattr(workflow, "_async_runners"):  # event loops, from 9.16 on: a child needs one of its own
            workflow._async_runners.clear()
        if self._arguments.wait_for_files_file is not None:  # which may have to be waited for itself
            workflow.execution_settings.wait_for_files = parse_wait_for_files(self._arguments)

    def _empty_dag(self) -> _Prepared | None:
        """Work out for all jobs of the same rules what would be the same in each: their empty DAG and its folders.

        None where that fails: the child does it, and shows why.
        """
        workflow = self._workflow
        options = {
            "forceall": workflow.dag_settings.forceall,
            "ignore_incomplete": workflow.execution_settings.ignore_incomplete,
            "lock_warn_only": workflow.dryrun,
            "nolock": not workflow.execution_settings.lock,
            "shadow_prefix": workflow.execution_settings.shadow_prefix,
        }
        with contextlib.suppress(Exception):
            if _has_shared_records(workflow):
                self._prepare_dag(**options)
                return _Prepared(options, {name: getattr(workflow, name) for name in PREPARED_NAMES})
        return None

    def _put_in(self, **options: Any) -> None:
        """In a child, in the place of `Workflow._prepare_dag`."""
        if self._next is not None and options == self._next.options:
            vars(self._workflow).update(self._next.results)
        else:
            self._prepare_dag(**options)


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
        "wait_for_files": (workflow.execution_settings, "wait_for_files"),
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
