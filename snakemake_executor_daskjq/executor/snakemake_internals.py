"""All that the executor knows of Snakemake beyond its interface, written for 9.6 to 9.27; checked before the first job.

A job's command is worked out by Snakemake's own code: its local executor prepares the job, and the function of the
job's rule is called up to the point where `snakemake.shell` starts a process. That process is not started but told
(`capture`). Standing in for a few names of Snakemake's modules does this, in the calling thread only: local rules run
in other threads at the same time.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import os
import shutil
import subprocess
import tempfile
import threading
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..model.request import TMPDIR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


@dataclass(slots=True)
class Started:
    """The process that Snakemake would have started.

    Attributes
    ----------
    argv, environment : as `execve` gets them.
    scripts : files that Snakemake wrote for it, and removes after it.
    to_remove : what is to be removed after it: these files, or their folders.
    """

    argv: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    scripts: list[str] = field(default_factory=list)
    to_remove: list[str] = field(default_factory=list)


class _WouldStart(BaseException):
    """Leaves Snakemake's code where it would start the process. Not an Exception: Snakemake handles those."""


class IncompleteMarks:
    """The marks of outputs whose job has begun and not ended, as far as this run has made them."""

    def __init__(self, workflow: Any) -> None:
        self._persistence = workflow.persistence
        # Without these options Snakemake runs nothing where outputs are marked, but what it is let resume.
        options = workflow.dag_settings, workflow.dag
        self._may_have_been = bool(getattr(workflow.dag, "forcefiles", False)) or any(
            getattr(one, name, False) for one in options for name in ("force_incomplete", "ignore_incomplete")
        )
        self._before: set[str] = set()

    def note(self, job: Any) -> None:
        """A job is about to be marked: what an earlier run has left is not ours."""
        if self._may_have_been:
            self._before.update(str(file) for one in _members(job) for file in one.output if self.is_marked(file))

    def is_marked(self, file: Any) -> bool:
        """Whether an output is. (Not by `incomplete`, which lists all marks each time that one was made.)"""
        persistence = self._persistence
        if not hasattr(persistence, "_record_path"):  # no files
            return bool(persistence._filter_incomplete_keys([persistence._get_key(file)]))
        key = persistence._get_key(file) if hasattr(persistence, "_get_key") else file
        return os.path.exists(persistence._record_path(persistence._incomplete_path, key))

    def take_back(self, job: Any) -> None:
        """A job does not begin. What can't be unmarked stays."""
        unmark = getattr(self._persistence, "_unmark_incomplete", None)
        for file in (file for one in _members(job) for file in one.output if str(file) not in self._before):
            with contextlib.suppress(Exception):
                if unmark is not None:
                    unmark(self._persistence._get_key(file))
                else:  # older versions
                    self._persistence._delete_record(self._persistence._incomplete_path, file)


def _members(job: Any) -> list[Any]:
    return list(job.jobs) if job.is_group() else [job]


class LocalRuns:
    """What Snakemake's local executor would run for a job.

    Raises ImportError, AttributeError or TypeError where Snakemake is not as expected.
    """

    def __init__(self, workflow: Any, marks: IncompleteMarks) -> None:
        from snakemake.executors import local
        from snakemake.jobs import Job
        from snakemake.resources import Resource  # older versions can't tell whether a tmpdir is the default

        assert Resource
        for name in ("_params", "_resources"):  # what `other_resources` sets
            getattr(Job, name)
        self._prepare = workflow.scheduler._local_executor.job_args_and_prepare
        # Older versions have a function.
        self._async_run = getattr(workflow, "async_run", None) or importlib.import_module("snakemake.common").async_run
        self._marks = marks
        self._names = list(inspect.signature(local.run_wrapper).parameters)
        self._wanted: dict[str, tuple[str, ...]] = {}  # by the rule: the parameters of its function
        self._dependent: dict[str, bool] = {}  # by the rule: whether its params depend on resources
        self._kept: set[Any] = set()  # jobs that fail before they begin
        self._persistence = workflow.persistence
        self._here = threading.local()  # what this thread captures, and whether it prepares
        self._answers: dict[tuple[str, str | None], tuple[int, str]] = {}
        self._step_in()

    def prepare(self, job: Any) -> dict[str, Any]:
        """Prepare a job as for a local run; returns the arguments of `run_wrapper` by their names.

        Old outputs and logs stay: they are removed where the job starts, and when it does (`Command.stale`). A job
        that never comes to that, for the run is interrupted, leaves what was there.
        """
        self._kept.discard(job)
        self._here.prepares = True
        try:
            return dict(zip(self._names, self._prepare(job), strict=True))
        finally:
            self._here.prepares = False

    def fail(self, job: Any) -> None:
        """What Snakemake does with the files and records of a job that has failed."""
        self._async_run(job.postprocess(error=True))

    def undo(self, job: Any) -> None:
        """Take back what `prepare` has made for a job that does not begin, and that it is marked as begun."""
        if job.shadow_dir:
            shutil.rmtree(job.shadow_dir, ignore_errors=True)
            job.shadow_dir = None
        for file in job.output:
            if file.flags.get("update"):
                self._persistence.cleanup_backup(Path(file))
        self._marks.take_back(job)

    def keep(self, job: Any) -> None:
        """Have Snakemake leave the outputs and records of a job alone when it hears that it has failed."""
        self._kept.add(job)

    def depends_on_resources(self, rule: Any) -> bool:
        """Whether params of the rule are worked out from its resources or threads."""
        if rule.name not in self._dependent:
            functions = [value for value in rule.params if callable(value)]
            self._dependent[rule.name] = any(map(_reads_resources, functions))
        return self._dependent[rule.name]

    @contextlib.contextmanager
    def other_resources(self, job: Any, resources: Mapping[str, Any]) -> Iterator[None]:
        """Have a job other resources for a while, and params that are worked out from them.

        What is recorded of the job must not tell of these: afterwards all is as it was.
        """
        stated = job.resources
        again = self.depends_on_resources(job.rule)
        job._resources = type(stated)(fromdict=dict(resources))
        if again:
            job._params = None
        try:
            yield
        finally:
            job._resources = stated
            if again:
                job._params = None

    def capture(self, job: Any, values: Mapping[str, Any], started: Started) -> bool:
        """Have `started` tell of the process that the function of the job's rule starts; False where it starts none."""
        rule = job.rule
        if rule.name not in self._wanted:
            parameters = inspect.signature(rule.run_func).parameters.values()
            self._wanted[rule.name] = tuple(one.name for one in parameters if one.default is one.empty)
        own = {"rule": rule.name, "is_shell": rule.shellcmd is not None, "bench_record": None, "shadow_dir": None}
        arguments = {**values, **own, "cleanup_scripts": True}  # so that it tells of its scripts
        self._here.started = started
        try:
            rule.run_func(**{name: arguments[name] for name in self._wanted[rule.name]})
        except _WouldStart:
            return True
        finally:
            self._here.started = None
        return False

    def write_benchmark(
        self, job: Any, values: Mapping[str, Any], measured: Mapping[str, Any], *, extended: bool
    ) -> None:
        """As `run_wrapper` writes a benchmark file, from what `launcher.benchmark` has measured.

        `values`: the params, resources and threads that the job was run with.
        """
        from snakemake.benchmark import BenchmarkRecord, write_benchmark_records

        def filled(value: Any) -> Any:
            return value.replace(TMPDIR, measured["tmpdir"]) if isinstance(value, str) else value

        named = {name: type(values[name])() for name in ("params", "resources")}
        for name, items in named.items():
            items.update({key: filled(value) for key, value in values[name].items()})
        records = []
        for fields in measured["records"]:
            record = BenchmarkRecord()
            vars(record).update(fields)
            record.jobid, record.rule_name, record.wildcards = job.jobid, job.rule.name, job.wildcards
            record.params, record.resources, record.threads = named["params"], named["resources"], values["threads"]
            record.input = job.input._plainstrings()
            records.append(record)
        write_benchmark_records(records, str(job.benchmark), extended)

    # -- standing in --------------------------------------------------------------------------------------

    def _started(self) -> Started | None:
        """What this thread captures, None where it does not."""
        return getattr(self._here, "started", None)

    def _step_in(self) -> None:
        import snakemake.notebook
        import snakemake.script
        from snakemake.jobs import Job

        remove_existing_output = Job.remove_existing_output

        async def remove_unless_prepared(job: Any) -> None:
            if not getattr(self._here, "prepares", False):
                await remove_existing_output(job)

        postprocess = Job.postprocess

        async def postprocess_unless_kept(job: Any, *arguments: Any, error: bool = False, **options: Any) -> None:
            if error and job in self._kept:
                self._kept.discard(job)
                self.undo(job)
            else:
                await postprocess(job, *arguments, error=error, **options)

        Job.remove_existing_output = remove_unless_prepared
        Job.postprocess = postprocess_unless_kept
        shell: Any = importlib.import_module("snakemake.shell")  # `snakemake.shell` is the class, too
        stand_in(shell, "sp", Popen=self._popen)
        stand_in(shell, "tempfile", mkdtemp=self._mkdtemp)
        stand_in(snakemake.script, "os", remove=self._remove)
        stand_in(snakemake.notebook, "tempfile", TemporaryDirectory=self._temporary_directory)

    def _popen(self, command: Any, **options: Any) -> Any:
        started = self._started()
        if started is None:
            return subprocess.Popen(command, **options)
        if options["stdout"] == subprocess.PIPE:
            return self._answer(command, options)
        executable = str(options.get("executable") or "/bin/sh")
        started.argv = [executable, "-c", command]
        started.environment = options["env"]
        raise _WouldStart

    def _answer(self, command: str, options: dict[str, Any]) -> Any:
        """What Snakemake asks of a rule's environment, such as the version of its Python; once for all jobs."""
        executable = options.get("executable")
        if (command, executable) not in self._answers:
            environment = {name: value.replace(TMPDIR, tempfile.gettempdir()) for name, value in options["env"].items()}
            result = subprocess.run(
                command, shell=True, stdout=subprocess.PIPE, text=True, executable=executable, env=environment
            )
            self._answers[command, executable] = result.returncode, result.stdout
        status, output = self._answers[command, executable]
        return types.SimpleNamespace(stdout=io.StringIO(output), wait=lambda: status, pid=0)

    def _mkdtemp(self, **options: Any) -> str:
        """The folder of a command that is too long for an argument."""
        folder = str(tempfile.mkdtemp(**options))
        if started := self._started():
            started.to_remove.append(os.path.abspath(folder))
            started.scripts.append(os.path.join(os.path.abspath(folder), "script.sh"))
        return folder

    def _remove(self, path: str) -> None:
        """A script is removed when its process has ended."""
        if started := self._started():
            started.to_remove.append(os.path.abspath(path))
            started.scripts.append(os.path.abspath(path))
        else:
            os.remove(path)

    def _temporary_directory(self, *arguments: Any, **options: Any) -> Any:
        """The folder of a notebook while it is executed: the job's own."""
        return contextlib.nullcontext(TMPDIR) if self._started() else tempfile.TemporaryDirectory(*arguments, **options)


def _reads_resources(function: Any) -> bool:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return True
    takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    return takes_any or not parameters.keys().isdisjoint(("resources", "threads"))


def stand_in(module: Any, name: str, **changed: Callable[..., Any]) -> None:
    """Give `module` its own copy of the module that it calls `name`, with some functions replaced.

    Raises AttributeError where it does not know such a module, or that one has no such function.
    """
    original = getattr(module, name)
    copy = types.ModuleType(original.__name__)
    vars(copy).update(vars(original))
    for function, replacement in changed.items():
        getattr(original, function)
        setattr(copy, function, replacement)
    setattr(module, name, copy)
