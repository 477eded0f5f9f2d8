"""The same workflow at every level of warm start, and all of it that must come out the same."""

from __future__ import annotations

import base64
import difflib
import hashlib
import json
import re
from typing import TYPE_CHECKING

import snakemake.resources

from .workflow import KEEP_LOGS, Workflow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any

FORKED = ("off", "import", "workflow")
"""The levels at which a job is a Snakemake of its own."""
HAS_DIRECT = hasattr(snakemake.resources, "Resource")
"""Direct starts need a Snakemake that tells whether a rule's tmpdir is the default."""
LEVELS = (*FORKED, "direct") if HAS_DIRECT else FORKED
PASSING = re.compile(
    r"Elapsed time: .*|/tmp/[\w/.-]+|\btmp\w{8}\b|\b\d{4}-\d\d-\d\d[ T][\d:.,]+"
    r"|\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<=ervice job )\d+"
)
"""What differs between two runs in any case: times, temporary names, identifiers. A group is a set of jobs, which
Snakemake numbers as the set has them: by their addresses."""
WAITS = re.compile(r"Waiting at most .*\n(?:.* \(missing locally.*\n)+")
"""A service may be slower in one run than in the other."""
UNCOMPARED = {".pyc", ".ipynb", ".tsv"}
"""Executed notebooks and benchmarks have times in them."""
PASSING_KEYS = {"starttime", "endtime", "job_hash"}
"""Of records; the hash is made of addresses."""


def at_level(level: str, folder: Path) -> Workflow:
    """A workflow in a folder of its own, whose jobs start at this level."""
    workflow = Workflow(folder / level / "work", KEEP_LOGS, env={"SNAKEMAKE_DASKJQ_WARM_START": level})
    workflow.folder.mkdir(parents=True)
    return workflow


def facts(workflow: Workflow) -> dict[str, list[str]]:
    """Each file, rule's logs and metadata record, and the contents without what passes."""
    found: dict[str, list[str]] = {}
    for path in sorted(workflow.folder.rglob("*")):
        name = str(path.relative_to(workflow.folder))
        if not path.is_file() or name == "output.txt" or path.suffix in UNCOMPARED:
            continue
        data = path.read_bytes()
        if not name.startswith(".snakemake/"):
            kind = "file"
        elif name.startswith(".snakemake/daskjq/runs/") and "/logs/" in name:
            kind, name = "log", path.parent.name  # Snakemake numbers jobs as it comes upon them
        elif name.startswith(".snakemake/metadata/"):
            record = json.loads(data)
            # Of copies of stored files Snakemake has checksums only while no other job has removed the copy.
            sums = record.get("input_checksums", {}).items()
            record["input_checksums"] = {file: sum_ for file, sum_ in sums if ".snakemake/storage/" not in file}
            data = json.dumps({key: record[key] for key in record.keys() - PASSING_KEYS}, sort_keys=True).encode()
            kind, name = "record", base64.b64decode(path.name).decode()  # its output
        else:
            continue
        try:
            text = data.decode().replace(str(workflow.folder), "FOLDER")
        except UnicodeDecodeError:
            text = hashlib.sha256(data).hexdigest()
        name = name.replace(str(workflow.folder), "FOLDER")
        found.setdefault(PASSING.sub("...", f"{kind} {name}"), []).append(PASSING.sub("...", WAITS.sub("", text)))
    return {name: sorted(texts) for name, texts in found.items()}


def assert_started_at(level: str, ended: Sequence[Mapping[str, Any]], *, but: tuple[str, ...] = ()) -> None:
    """Jobs have started as warm as this. `but`: how the keys of those begin that can't start directly, and say why."""
    for event in ended:
        if level == "direct" and event["key"].startswith(but):
            assert event["warm_start"] != "direct", event
            assert event["colder_because"], event
        else:
            assert (event["warm_start"], event["colder_because"]) == (level, ""), event


def assert_same(found: Mapping[str, Mapping[str, list[str]]]) -> None:
    """The `facts` of all levels are the same, or the failure tells each line that is not.

    Of a direct start, the log has only what the command wrote.
    """

    def compared(level: str, other: str) -> dict[str, list[str]]:
        logs = "direct" not in (level, other)
        return {name: texts for name, texts in found[level].items() if logs or not name.startswith("log ")}

    def lines(level: str, other: str) -> list[str]:
        facts = compared(level, other).items()
        return [f"{name}: {line}" for name, texts in facts for text in texts for line in text.split("\n")]

    first, *others = found
    for level in others:
        different = difflib.unified_diff(lines(first, level), lines(level, first), first, level, lineterm="", n=1)
        assert compared(level, first) == compared(first, level), "\n".join(different)
