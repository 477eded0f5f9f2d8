"""A folder with a workflow, run under Snakemake's local executor and under daskjq: what it leaves must be the same."""

from __future__ import annotations

import difflib
import hashlib
import os
import shlex
import shutil
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .levels import LEVELS
from .workflow import KEEP_LOGS, Workflow

LOCAL, DEFAULT = "local", "default"
COLDER = LEVELS[:-1]
"""The default is the warmest level (tests/integration/test_idioms_files.py): one run is enough for both."""
SETTING = "SNAKEMAKE_DASKJQ_WARM_START"
NO_RESULTS = {".snakemake", "__pycache__", "output.txt"}
LIMIT_S = 150


@dataclass(frozen=True, slots=True)
class Ended:
    """A run that has come to its end, with all files that it left: mode and contents of each."""

    workflow: Workflow
    status: int
    files: Mapping[str, str]

    def lines(self) -> list[str]:
        return [f"exit status {self.status}", *(f"{name}: {what}" for name, what in self.files.items())]


def run(
    source: Path,
    folder: Path,
    level: str,
    options: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    prepare: Callable[[Path], None] | None = None,
) -> Ended:
    """Run a fresh copy of `source` with two cores: under daskjq at this level or by default, or under `local`.

    Files `options` and `environment` there are further options and variables; `{folder}` is the copy.
    """
    workflow = Workflow(folder / level / "work", KEEP_LOGS)
    shutil.copytree(source, workflow.folder, symlinks=True)
    if prepare is not None:
        prepare(workflow.folder)
    workflow.env.pop(SETTING, None)
    workflow.env.pop("PYTHONDONTWRITEBYTECODE", None)  # it hides what goes wrong with compiled modules
    workflow.env |= dict(line.split("=", 1) for line in _words(source / "environment"))
    workflow.env |= {name: value.replace("{folder}", str(workflow.folder)) for name, value in (env or {}).items()}
    options = ["--cores", "2", *_words(source / "options"), *options]
    options = [option.replace("{folder}", str(workflow.folder)) for option in options]
    if level == LOCAL:
        status = workflow.run(*options, executor="local", timeout=LIMIT_S)
    else:
        if level != DEFAULT:
            workflow.env[SETTING] = level
        status = workflow.run("--jobs", "20", *options, timeout=LIMIT_S)
    assert workflow.leftovers() == []
    return Ended(workflow, status, files(workflow.folder))


def files(folder: Path) -> dict[str, str]:
    """Mode and contents of each file, folder and link below, but for what Snakemake and Python keep for themselves."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if NO_RESULTS.isdisjoint(name.parts):
            found[str(name)] = f"{stat.filemode(path.lstat().st_mode)} {_contents(path, folder)}"
    return found


def assert_as_local(local: Ended, found: Ended) -> None:
    """Nothing differs, or the failure tells each line that does."""
    lines = [*difflib.unified_diff(local.lines(), found.lines(), "local", "daskjq", lineterm="", n=0)]
    said = found.workflow.output[-1500:] if found.status != local.status else ""
    assert not lines, "\n".join([*lines, said])


def _contents(path: Path, folder: Path) -> str:
    if path.is_symlink():
        return f"-> {os.readlink(path)}"
    if path.is_dir():
        return ""
    data = path.read_bytes()
    if path.parts[len(folder.parts)].startswith("bench"):  # times: their header is the same
        data = data.partition(b"\n")[0]
    try:
        text = data.decode().replace(str(folder), "FOLDER")
    except UnicodeDecodeError:
        return hashlib.sha256(data).hexdigest()
    return text if len(text) < 1000 else f"{text[:200]} ... {hashlib.sha256(text.encode()).hexdigest()}"


def _words(path: Path) -> list[str]:
    return shlex.split(path.read_text()) if path.exists() else []
