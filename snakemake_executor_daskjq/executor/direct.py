"""Jobs that need no Snakemake where they run: the main process works out the command, a pilot executes it.

Snakemake's local executor does the same for all but `run:`: the job is prepared and its rule's function called in the
main process, which has evaluated input functions, params and resources once and rightly, and only the command is a
process of its own. Here Snakemake's own code goes the same way up to the point where it would start that process.
After the job, Snakemake itself does what it does for a local one: it checks and touches outputs, moves them out of a
shadow folder, writes records.

Covers `shell:`, `script:`, `notebook:` and `wrapper:`, with conda, containers, environment modules, benchmarks, shadow
folders. Does not cover what has to happen where the job runs; `DirectStarts.command` then says why not.

What this needs to know of Snakemake's insides is in `snakemake_internals`. Where these are not as expected, no job is
started this way.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from typing import TYPE_CHECKING, Any

from snakemake_interface_executor_plugins.settings import DeploymentMethod, SharedFSUsage

from ..errors import NotPreparedError
from ..model.request import TMPDIR, Command, template_of
from . import environment
from .snakemake_internals import IncompleteMarks, LocalRuns, Started

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .job_arguments import JobArguments


class _Refused(Exception):
    """The job has to start colder; the text says why."""


class _PilotTmpdir(str):
    """The value of `resources.tmpdir` in the main process: a text that the pilot replaces by the job's own folder.

    In a pickle, which can't be changed later, it is what the job finds in its environment.
    """

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, ...]]:
        return os.getenv, ("TMPDIR", "/tmp")


class _UnmadeTmpdir(_PilotTmpdir):
    """The same while a job is prepared: Snakemake makes a folder of that name unless it is false."""

    def __bool__(self) -> bool:
        return False


class DirectStarts:
    """Makes commands of jobs.

    `at_start` are the variables that this process began with. `local`: pilots are on this machine, and see each file
    as it does. `may_outlive`: jobs may go on when this process has died.
    """

    def __init__(
        self,
        workflow: Any,
        arguments: JobArguments,
        at_start: Mapping[str, str],
        marks: IncompleteMarks,
        *,
        local: bool,
        may_outlive: bool,
    ) -> None:
        self._workflow = workflow
        self._arguments = arguments
        self._at_start = at_start
        self._local = local
        self._may_outlive = may_outlive
        self._files: dict[str, list[str]] = {}  # by the job's key: what is removed once it has ended
        self._reasons: dict[str, str] = {}  # by the rule
        self._measured: dict[str, dict[str, Any]] = {}  # by the job's key: what a benchmarked job is run with
        self._unexpected = ""
        try:
            self._runs = LocalRuns(workflow, marks)
        except (ImportError, AttributeError, TypeError) as error:
            self._unexpected = f"this Snakemake is not as expected: {error}"

    def command(self, job: Any, key: str, cores: int | None = None) -> Command | str:
        """What to execute for a job, which is prepared then; or why it has to start colder.

        `cores` is what it gets where its rule names more threads.

        Raises
        ------
        NotPreparedError : where the job can't run at all.
        """
        try:
            if why := self._unexpected or self._why_not(job):
                return why
        except AttributeError as error:  # another version
            self._unexpected = f"this Snakemake is not as expected: {error}"
            return self._unexpected
        try:
            resources = self._resources(job, cores)
            values = self._prepared(job, resources)
            captured = self._captured(job, key, values)
            return self._command(job, key, captured, values)
        except _Refused as refusal:
            self.ended(key)
            self._runs.undo(job)  # the job's own Snakemake prepares it anew
            return str(refusal)

    def files_of(self, key: str) -> Sequence[str]:
        """The files that were written for a job."""
        return self._files.get(key, ())

    def ended(self, key: str) -> None:
        """Remove what was written for a job."""
        self._measured.pop(key, None)
        for path in self._files.pop(key, ()):
            with contextlib.suppress(OSError):
                shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)

    def interrupted(self, job: Any, *, begun: bool) -> None:
        """The run ends before a job has. Remove what it had begun to write, as a job that is a Snakemake does.

        With --keep-incomplete that stays, and stays marked as such. A job that had not begun has changed nothing.
        """
        with contextlib.suppress(Exception):  # what can't be removed must not hold up the others
            if not begun:
                self._runs.undo(job)
            elif not self._workflow.execution_settings.keep_incomplete:
                self._runs.fail(job)

    def unbegun(self, job: Any) -> None:
        """A job is about to fail that has not begun: what was there before stays."""
        if not self._unexpected and not job.is_group():
            self._runs.keep(job)

    def close(self) -> None:
        """Remove what was written for jobs that nobody hears of any more."""
        for key in list(self._files):
            self.ended(key)

    def write_benchmark(self, job: Any, key: str, measured: str) -> None:
        """Write a job's benchmark file from what was measured on the pilot (JSON), as Snakemake does."""
        extended = self._workflow.output_settings.benchmark_extended
        self._runs.write_benchmark(job, self._measured[key], json.loads(measured), extended=extended)

    # -- whether ------------------------------------------------------------------------------------------

    def _why_not(self, job: Any) -> str:
        if job.is_group():
            return "it is a group of jobs"
        return self._rules_reason(job.rule) or self._files_reason(job)

    def _rules_reason(self, rule: Any) -> str:
        if rule.name not in self._reasons:
            self._reasons[rule.name] = self._find_rules_reason(rule)
        return self._reasons[rule.name]

    def _find_rules_reason(self, rule: Any) -> str:
        """Why no job of the rule is started directly, or ""."""
        workflow = self._workflow
        kind = next((kind for kind in ("shell", "script", "notebook", "wrapper") if getattr(rule, f"is_{kind}")), "")
        deployment = workflow.deployment_settings.deployment_method
        if self._arguments.precommand:
            return "a command has to run before it"
        if not self._arguments.common_workdir or not self._arguments.shares(SharedFSUsage.INPUT_OUTPUT):
            return "files are not shared with its pilot"
        if rule.is_handover:
            return "its rule hands over to another system (handover)"
        if not kind:
            return "its rule is Python code (run:)" if not rule.is_cwl else "its rule has cwl:"
        if kind != "shell" and not self._arguments.shares(SharedFSUsage.SOURCES):
            return "sources are not shared with its pilot"
        if rule.shadow_depth and self._may_outlive:
            return "only a Snakemake of its own knows its shadow folder when this one has died (--daskjq-keep)"
        if rule.shadow_depth and kind != "shell":
            return f"its rule has both {kind}: and shadow:"
        if rule.shadow_depth == "copy-minimal":
            return "its inputs are copied (shadow: copy-minimal)"
        if rule.shadow_depth and any(file.flags.get("update") for file in rule.output):
            return "its rule has both update() and shadow:"
        if rule.shadow_depth and workflow.execution_settings.shadow_prefix:
            return "its shadow folder may be its pilot's own (--shadow-prefix)"
        if kind == "notebook" and (rule.benchmark or workflow.execution_settings.edit_notebook):
            return "its notebook is benchmarked or edited"
        if workflow.workflow_settings.cache is not None and getattr(rule, "cache", True):
            return "its outputs may be in the cache (--cache)"
        deployed = DeploymentMethod.CONDA in deployment and rule.conda_env is not None
        if deployed and not self._arguments.shares(SharedFSUsage.SOFTWARE_DEPLOYMENT):
            return "its software is deployed where it runs"
        if rule.shadow_depth and DeploymentMethod.APPTAINER in deployment and rule.container_img:
            return "it has both a container and a shadow folder"
        return ""

    def _files_reason(self, job: Any) -> str:
        if any(file.is_storage for file in (*job.output, *job.log, *((job.benchmark,) if job.benchmark else ()))):
            return "its outputs go to storage"
        if any(file.is_storage for file in job.input) and not self._arguments.shares(
            SharedFSUsage.STORAGE_LOCAL_COPIES
        ):
            return "its inputs come from storage"
        if job.pipe_or_service_output:
            return "it has a pipe or a service"
        return ""

    # -- the command --------------------------------------------------------------------------------------

    def _resources(self, job: Any, cores: int | None) -> Any:
        """The job's resources with its folder for temporary files, which Snakemake leaves open in a remote run."""
        values = dict(job.resources.items())
        if cores is not None:
            values["_cores"] = cores
        if "tmpdir" in values:
            stated = job.rule.resources["tmpdir"]
            if getattr(stated, "raw", None) == "system_tmpdir":
                values["tmpdir"] = _PilotTmpdir(TMPDIR)
            elif self._local or not stated.is_evaluable():
                found = job.rule.expand_resources(job.wildcards_dict, job.input, job.attempt)
                values["tmpdir"] = found.get("tmpdir")
            else:
                raise _Refused("its tmpdir is worked out where it runs")
        return type(job.resources)(fromdict=values)

    def _prepared(self, job: Any, resources: Any) -> dict[str, Any]:
        """Prepare the job; what its rule's function is called with."""
        unmade = dict(resources.items())
        if resources.get("tmpdir") == TMPDIR:
            unmade["tmpdir"] = _UnmadeTmpdir(TMPDIR)
        try:
            with self._runs.other_resources(job, unmade):
                values = self._runs.prepare(job)
        except Exception as error:
            self._runs.undo(job)
            raise NotPreparedError(str(error) or type(error).__name__) from error
        return {**values, "resources": resources}

    def _captured(self, job: Any, key: str, values: dict[str, Any]) -> list[Started]:
        """One process, or one for each repetition of a benchmark."""
        iterations = range(values["benchmark_repeats"]) if values["benchmark"] else (None,)
        captured = []
        files = self._files[key] = []
        for iteration in iterations:
            started = Started()
            try:
                starts = self._runs.capture(job, {**values, "bench_iteration": iteration}, started)
            except Exception as error:
                # The job's own Snakemake will find the same, and tells it where it tells such things.
                raise _Refused(f"its command could not be worked out: {type(error).__name__}") from error
            finally:
                files += started.to_remove
            if not starts:
                raise _Refused("its rule starts no process")
            captured.append(started)
        return captured

    def _command(self, job: Any, key: str, captured: list[Started], values: dict[str, Any]) -> Command:
        first, tmpdir = captured[0], values["resources"].get("tmpdir")
        scripts = [path for one in captured for path in one.scripts]
        fill = tuple(path for path in scripts if _is_to_be_filled(path))
        if not self._workflow.execution_settings.cleanup_scripts:
            self._files[key] = [path for path in self._files[key] if path not in scripts]
        self._files[key] += map(template_of, fill)
        if values["benchmark"]:
            self._measured[key] = {name: values[name] for name in ("params", "resources", "threads")}
        always = environment.THREADS + (environment.FOLDERS if tmpdir else ())
        env, unset = environment.changes(first.environment, self._at_start, always)
        products = [*job.output, *job.log]
        shadow = job.shadow_dir or ""
        made = [*products, *([job.benchmark] if job.benchmark else ())]
        stale = [(os.path.abspath(path), bool(path.is_directory)) for path in products if not path.flags.get("update")]
        folders = {os.path.dirname(os.path.abspath(path)) for path in made}  # one may lie in another that is stale
        if shadow:  # what an earlier try, which was lost, has made there
            shadowed = [os.path.abspath(os.path.join(shadow, path)) for path in products]
            stale += [(path, bool(real.is_directory)) for path, real in zip(shadowed, products, strict=True)]
            folders |= {os.path.dirname(path) for path in shadowed}
        waits: tuple[str, ...] = ()
        if not self._local:
            waits = tuple(dict.fromkeys([*map(str, job.get_wait_for_files()), *scripts]))
            folders |= {os.path.abspath(tmpdir)} if tmpdir and tmpdir != TMPDIR else set()
        return Command(
            argvs=tuple(tuple(one.argv) for one in captured),
            cwd=os.path.abspath(shadow or os.curdir),
            env=env,
            unset=unset,
            stale=tuple(stale),
            products=tuple(os.path.abspath(os.path.join(shadow, path)) for path in products),
            folders=tuple(sorted(folders)),
            wait_for=waits,
            latency_wait_s=float(self._workflow.execution_settings.latency_wait),
            fill=fill,
            benchmark=bool(values["benchmark"]),
        )


def _is_to_be_filled(script: str) -> bool:
    """Whether a script names the job's folder for temporary files, so that its pilot has to put it in."""
    with open(script, "rb") as file:
        text = file.read()
    if os.path.basename(TMPDIR).encode() not in text:
        return False
    if b"pickle.loads(" in text:  # its texts have lengths, and a path may be in parts
        raise _Refused("its params hold the folder for temporary files")
    return True
