"""A profile written for the Slurm executor -> one for daskjq: what `daskjq migrate` prints.

Snakemake names an executor's settings after its plugin, and refuses `slurm-*` where that plugin is not installed; a
plugin can't take the settings of another. Everything else in a profile is read by daskjq as it is (`migration`).
Text in, text out: comments and order stay, and each changed line says why.
"""

from __future__ import annotations

import re

import yaml

from ..errors import DaskjqError

_DIRECTIVES = {
    "slurm-qos": "--qos",
    "slurm-reservation": "--reservation",
    "slurm-exclude-failed-nodes": "--exclude",
}
"""Settings that are options of sbatch, and so directives of pilots."""

_RENAMED = {
    "slurm-logdir": "daskjq-log-folder",
    "slurm-keep-successful-logs": "daskjq-keep-successful-logs",
}

_LOGS = "'daskjq-log-folder' is kept, with a folder for each run; remove old ones at any time"
_REPORT = "'daskjq report' has what each rule used, after each run"
_FEW = "pilots are few: nothing is submitted for a single job"
_REASONS = {
    "slurm-array-jobs": _FEW,
    "slurm-array-limit": _FEW,
    "slurm-disable-memory-fudge": _FEW,
    "slurm-pass-command-as-script": _FEW,
    "slurm-jobname-prefix": "batch jobs are pilots, named daskjq",
    "slurm-delete-logfiles-older-than": _LOGS,
    "slurm-init-seconds-before-status-checks": "the end of a job is told, not asked for",
    "slurm-status-command": "the end of a job is told, not asked for",
    "slurm-status-attempts": "the end of a job is told, not asked for",
    "slurm-requeue": "jobs of a lost pilot go back to the queue",
    "slurm-no-requeue": "jobs of a lost pilot go back to the queue, and are fenced off from their first copy",
    "slurm-no-account": "without daskjq-account, Slurm takes your default account",
    "slurm-partition-config": "'daskjq pools from-slurm > pools.yaml' writes pools; name the file as daskjq-pools",
    "slurm-efficiency-report": _REPORT,
    "slurm-efficiency-report-path": _REPORT,
    "slurm-efficiency-threshold": _REPORT,
}
"""Settings that have nothing to say here, and why."""

_KEY = re.compile(r"""(?P<quote>["']?)(?P<key>executor|slurm-[\w-]+)(?P=quote)\s*:""")


def migrate(text: str) -> str:
    """The profile in daskjq's words. Raises DaskjqError where it is no YAML with a setting a line.

    >>> print(migrate("executor: slurm\\njobs: 9\\nslurm-qos: long\\nslurm-requeue: true"), end="")
    executor: daskjq  # was slurm
    daskjq-system: slurm
    jobs: 9
    # slurm-qos: long  # now in daskjq-directives
    # slurm-requeue: true  # not needed: jobs of a lost pilot go back to the queue
    daskjq-directives: "--qos=long"
    """
    try:
        settings = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DaskjqError(f"The profile is no YAML: {error}") from error
    if not isinstance(settings, dict):
        raise DaskjqError("A profile has to be a mapping of options to values, such as 'jobs: 100'.")
    lines: list[str] = []
    left = {key for key in settings if key == "executor" or str(key).startswith("slurm-")}
    in_changed = False
    for line in text.splitlines():
        found = _KEY.match(line)
        if found is None:
            # What belongs to a setting that is left out goes with it: indented lines and items of a list.
            in_changed = in_changed and (not line.strip() or line[0] in " -")
            lines.append(f"# {line}" if in_changed and line.strip() else line)
            continue
        left.discard(found["key"])
        new, in_changed = _replaced(found["key"], line, settings)
        lines += new
    if left:
        raise DaskjqError(f"The profile has {', '.join(sorted(left))}, but not at the start of a line: put them there.")
    lines += _directives(settings)
    return "".join(f"{line}\n" for line in lines)


def _replaced(key: str, line: str, settings: dict[str, object]) -> tuple[list[str], bool]:
    """The lines for a setting, and whether those that belong to it are left out."""
    if key == "executor":
        if settings[key] != "slurm":
            return [line], False
        system = [] if "daskjq-system" in settings or "daskjq-pools" in settings else ["daskjq-system: slurm"]
        return ["executor: daskjq  # was slurm", *system], False
    if new := _RENAMED.get(key):
        return [f"{line.replace(key, new, 1)}  # was {key}"], False
    if key in _DIRECTIVES:
        return [f"# {line}  # now in daskjq-directives"], True
    reason = _REASONS.get(key)
    return [f"# {line}  # {f'not needed: {reason}' if reason else 'unknown to daskjq'}"], True


def _directives(settings: dict[str, object]) -> list[str]:
    options = [f"{option}={settings[key]}" for key, option in _DIRECTIVES.items() if settings.get(key)]
    if not options:
        return []
    if "daskjq-directives" in settings or "daskjq-pools" in settings:
        return [f"# add to the directives of your pools: {' '.join(options)}"]
    # In one string: of a list, Snakemake makes words that look like options of its own.
    return [f'daskjq-directives: "{" ".join(options)}"']
