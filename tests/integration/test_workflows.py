"""Workflows in the manner of real ones, with stubbed tools: results as under `local`, nearly all jobs direct.

The pattern is github.com/snakemake-workflows and PyPSA: sample sheets in pandas, schemas, modules, includes, reports,
wrappers, checkpoints, scatter and gather, scripts of several languages, a notebook, conda ignored and used.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from ..compared import DEFAULT, LOCAL, Ended, assert_as_local, run
from ..features.deployment import FAKE_ACTIVATE, FAKE_CONDA

FOLDER = Path(__file__).parents[1] / "workflows"
DIRECT = "direct"


def conda(folder: Path) -> None:
    """A fake conda, whose environments are folders with the file that they were made from."""
    for name, text in {"fakes/conda": FAKE_CONDA, "fake/bin/activate": FAKE_ACTIVATE}.items():
        path = folder / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
        path.chmod(0o755)


@dataclass(frozen=True, slots=True)
class Compared:
    jobs: int
    local: Ended
    daskjq: Ended


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(("rna-seq", 36, None), id="rna-seq"),
        pytest.param(("variant-calling", 36, None), id="variant-calling"),
        pytest.param(("chip-seq", 32, None), id="chip-seq"),
        pytest.param(("single-cell", 26, None), id="single-cell", marks=pytest.mark.needs("Rscript")),
        pytest.param(("energy-model", 28, conda), id="energy-model"),
    ],
)
def compared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Compared:
    """One workflow, run under both; so many of its jobs are for pilots."""
    name: str
    jobs: int
    prepare: Callable[[Path], None] | None
    name, jobs, prepare = request.param
    folder = tmp_path_factory.mktemp(name)
    env = {"PATH": f"{{folder}}/fakes:{FOLDER / 'bin'}:{os.environ['PATH']}"}
    local, daskjq = (run(FOLDER / name, folder, level, env=env, prepare=prepare) for level in (LOCAL, DEFAULT))
    return Compared(jobs, local, daskjq)


def test_the_results_are_those_of_local(compared: Compared) -> None:
    assert compared.local.status == 0, compared.local.workflow.output[-3000:]
    assert_as_local(compared.local, compared.daskjq)


def test_nearly_all_jobs_start_direct_and_the_journal_says_why_others_do_not(compared: Compared) -> None:
    ended = compared.daskjq.workflow.journal("job_ended")
    assert len(ended) == compared.jobs
    starts = Counter((event["warm_start"], event["colder_because"]) for event in ended)
    assert sum(count for (level, _), count in starts.items() if level == DIRECT) >= 0.95 * len(ended), starts
    assert all(because for level, because in starts if level != DIRECT), starts
