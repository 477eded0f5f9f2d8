"""Features that a Snakefile can show on its own: many of them share one run of Snakemake."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from ..programs import missing
from ..workflow import Workflow


@dataclass(frozen=True, slots=True)
class Case:
    """A feature, the rules that use it, and what must be true when they have run.

    Attributes
    ----------
    feature : how the README's table calls it.
    rules : a Snakefile; names of its rules and files are its own, for many cases share a run.
    targets : what is asked for, beyond the files of `expect`.
    expect : files and their contents.
    check : what else must hold.
    files : further files that are there before; those with a shebang can be executed.
    options : of `snakemake`.
    env : variables of `snakemake`; `{folder}` is the workflow's.
    needs : programs that it can't do without.
    note : for the table.
    """

    feature: str
    rules: str
    targets: Sequence[str] = ()
    expect: Mapping[str, str] = field(default_factory=dict)
    check: Callable[[Workflow], None] | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    options: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    needs: Sequence[str] = ()
    note: str = ""

    @property
    def slug(self) -> str:
        return "".join(letter if letter.isalnum() else "_" for letter in self.feature)

    def verify(self, workflow: Workflow) -> None:
        found = {name: _content(workflow, name) for name in self.expect}
        assert found == self.expect, workflow.output[-1500:]
        missing = [name for name in self.targets if not (workflow.folder / name).exists()]
        assert not missing, workflow.output[-1500:]
        if self.check is not None:
            self.check(workflow)


def run_together(cases: Sequence[Case], workflow: Workflow, *options: str) -> None:
    """Run all `cases` that can run here in one go; one that fails leaves the others as they are."""
    cases = [case for case in cases if not missing(case.needs)]
    lines = []
    for case in cases:
        workflow.write(case.rules, f"{case.slug}.smk")
        for name, text in case.files.items():
            workflow.write(text, name)
            if text.startswith("#!"):
                (workflow.folder / name).chmod(0o755)
        workflow.env |= {name: value.replace("{folder}", str(workflow.folder)) for name, value in case.env.items()}
        options += tuple(case.options)
        lines.append(f"include: {case.slug + '.smk'!r}")
    targets = [name for case in cases for name in (*case.expect, *case.targets)]
    workflow.write("\n".join([*lines, "rule all:", f"    input: {targets!r}", "    default_target: True"]))
    workflow.run("--jobs", "100", "--keep-going", *options, timeout=600)


def parametrize(cases: Sequence[Case], system: str = "local") -> pytest.MarkDecorator:
    """A test for each case, as a row of the table has it."""
    return pytest.mark.parametrize(
        "case",
        [
            pytest.param(
                case,
                id=case.slug,
                marks=[
                    pytest.mark.feature(case.feature, system=system, note=case.note),
                    pytest.mark.needs(*case.needs),
                ],
            )
            for case in cases
        ],
    )


def selected(request: pytest.FixtureRequest, cases: Sequence[Case]) -> list[Case]:
    """Those of `cases` that this session asks for."""
    wanted = [item.callspec.params.get("case") for item in request.session.items if hasattr(item, "callspec")]
    return [case for case in cases if case in wanted]


def _content(workflow: Workflow, name: str) -> str | None:
    path = workflow.folder / name
    return path.read_text() if path.exists() else None
