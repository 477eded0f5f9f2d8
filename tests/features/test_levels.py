"""What Snakefiles can say comes out the same however warm its jobs start: files, jobs' logs and Snakemake's records."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from ..workflow import Workflow
from .case import run_together
from .directives import DIRECTIVES

LEVELS = ("off", "import", "workflow")
PASSING = re.compile(
    r"Elapsed time: .*|/tmp/[\w/.-]+|\btmp\w{8}\b|\b\d{4}-\d\d-\d\d[ T][\d:.,]+"
    r"|\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
)
"""What differs between two runs in any case: times, temporary names, identifiers."""
WAITS = re.compile(r"Waiting at most .*\n(?:.* \(missing locally.*\n)+")
"""A service may be slower in one run than in the other."""
UNCOMPARED = {".pyc", ".ipynb", ".tsv", ".parse"}
"""Executed notebooks and benchmarks have times in them; the last is a warm host's own log."""
PASSING_KEYS = {"starttime", "endtime", "job_hash"}
"""Of records; the hash is made of addresses."""


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
            data = json.dumps({key: record[key] for key in record.keys() - PASSING_KEYS}, sort_keys=True).encode()
            kind = "record"
        else:
            continue
        try:
            text = data.decode().replace(str(workflow.folder), "FOLDER")
        except UnicodeDecodeError:
            text = hashlib.sha256(data).hexdigest()
        found.setdefault(PASSING.sub("...", f"{kind} {name}"), []).append(PASSING.sub("...", WAITS.sub("", text)))
    return {name: sorted(texts) for name, texts in found.items()}


def test_directives_come_out_the_same_at_all_levels(tmp_path: Path) -> None:
    found = {}
    for level in LEVELS:
        workflow = Workflow(tmp_path / level / "work", env={"SNAKEMAKE_DASKJQ_WARM_START": level})
        workflow.folder.mkdir(parents=True)
        run_together(DIRECTIVES, workflow)
        ended = workflow.journal("job_ended")
        assert {event["warm_start"] for event in ended} == {level}
        found[level] = facts(workflow)
    kinds = {name.partition(" ")[0] for name in found["off"]}
    assert kinds == {"file", "log", "record"}
    for level in ("import", "workflow"):
        assert found[level].keys() == found["off"].keys()
        different = {
            name: (text, found[level][name]) for name, text in found["off"].items() if text != found[level][name]
        }
        assert not different
