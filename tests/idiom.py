"""What the small Snakefiles in `tests/idioms` must give: the same as under `local`, or what is said here."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .compared import COLDER, DEFAULT, LOCAL, Ended, assert_as_local, run

FOLDER = Path(__file__).parent / "idioms"


@dataclass(frozen=True, slots=True)
class Idiom:
    """One of the folders, with what is added to its own options and variables.

    Attributes
    ----------
    check : what must hold of a run instead of being as local; it gets the local one too.
    besides : what must hold as well.
    prepare : what a copy of the folder lacks.
    """

    name: str
    options: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    check: Callable[[Ended, Ended], None] | None = None
    besides: Callable[[Ended], None] | None = None
    prepare: Callable[[Path], None] | None = None

    def __str__(self) -> str:
        return " ".join([self.name, *self.options, *(f"{name}={value}" for name, value in self.env.items())])

    def verify(self, folder: Path, levels: Sequence[str] = COLDER) -> None:
        """Run it under `local`, at these levels and by default; tell all that differ."""

        def at(level: str) -> Ended:
            return run(FOLDER / self.name, folder, level, self.options, self.env, self.prepare)

        local = at(LOCAL)
        wrong = []
        for level in (*levels, DEFAULT):
            try:
                self._compare(local, at(level))
            except AssertionError as error:  # the other levels are worth knowing, too
                wrong.append(f"{level}: {error}")
        assert not wrong, "\n\n".join(wrong)

    def _compare(self, local: Ended, found: Ended) -> None:
        if self.check is None:
            assert_as_local(local, found)
        else:
            self.check(local, found)
        if self.besides is not None:
            self.besides(found)


# -- prepared ------------------------------------------------------------------------------------------------


def folder_of_link_and_file_of_tomorrow(folder: Path) -> None:
    """Git keeps no empty folder and no time."""
    (folder / "real").mkdir()
    tomorrow = (folder / "future.in").stat().st_mtime + 86400
    os.utime(folder / "future.in", (tomorrow, tomorrow))


def pool_that_ends_by_itself(folder: Path) -> None:
    """Forked workers inherit Snakemake's handler of SIGTERM: idle ones are not terminated, under `local` either."""
    path = folder / "Snakefile"
    text = path.read_text()
    ends = "range(5))\n            p.close()\n            p.join()\n"
    assert text.count("range(5))\n") == 1
    path.write_text(text.replace("range(5))\n", ends))


# -- checked -------------------------------------------------------------------------------------------------


def without(ended: Ended, *names: str) -> Ended:
    """As if it had not left these files, which are checked apart."""
    rest = {name: what for name, what in ended.files.items() if name not in names}
    return Ended(ended.workflow, ended.status, rest)


def assert_as_local_but_for(names: Sequence[str], local: Ended, found: Ended) -> None:
    assert_as_local(without(local, *names), without(found, *names))


def each_name_or_a_refusal(local: Ended, found: Ended) -> None:
    """Snakemake's command line can't carry some values: those jobs fail by name, and none runs as another."""
    refused = found.workflow.output.count("Snakemake has no way to pass the value")
    if not refused:
        assert_as_local(local, found)
        return
    assert found.status != 0
    missing = [name for name in local.files if name not in found.files]
    assert len(missing) == refused
    values = [name.removeprefix("o/").removesuffix(".t") for name in missing]
    assert all("," in value or value != value.strip("'\"") for value in values), values
    assert_as_local_but_for(missing, Ended(local.workflow, found.status, local.files), found)


def four_different_numbers(local: Ended, found: Ended) -> None:
    names = [f"o{i}.txt" for i in range(4)]
    assert_as_local_but_for(names, local, found)
    assert len({found.files.get(name) for name in names}) == 4, [found.files.get(name) for name in names]


def values_as_given(local: Ended, found: Ended) -> None:
    """Of `run:` rules, `local` itself doubles backslashes, and fails where there are both kinds of quotes."""
    right = local.files["p.txt"].partition(" ")[2]
    assert found.status == 0, found.workflow.output[-1500:]
    assert_as_local_but_for(["s.txt", "r.txt"], Ended(local.workflow, 0, local.files), found)
    value = right.partition(": ")[2].removesuffix("}\n")
    assert found.files["s.txt"].endswith(f" [('pat', {value})]"), found.files["s.txt"]
    assert found.files["r.txt"] in (local.files.get("r.txt"), found.files["s.txt"]), found.files["r.txt"]


def printed_nowhere_else(found: Ended) -> None:
    """What a parse prints may be in a job's log, as in a cold one; in no other file of the run, and in no result."""
    runs = found.workflow.folder / ".snakemake" / "daskjq" / "runs"
    printed = [path for path in runs.rglob("*") if path.is_file() and b"from Snakefile" in path.read_bytes()]
    elsewhere = [str(path) for path in printed if path.relative_to(runs).parts[1] != "logs" or path.suffix != ".log"]
    assert elsewhere == []


def temporary_folders(local: Ended, found: Ended) -> None:
    """`run:` has what the Snakefile has set; commands and scripts have a folder of the job's own."""
    assert_as_local_but_for(["s.txt", "c.txt"], local, found)
    command, script = found.workflow.read("s.txt").strip(), found.workflow.read("c.txt").split()
    assert Path(command).name.startswith("daskjq-") or Path(command).name.isdigit(), command
    assert script[0] == script[1] != "mytmp", script


def fails_once_and_its_pilot_lives_on(found: Ended) -> None:
    assert found.workflow.read("runs-of-a") == "ran\n"
    ended = [event["end"] for event in found.workflow.journal("job_ended")]
    assert sorted(ended) == ["failed", "succeeded", "succeeded"], ended
    assert len(found.workflow.journal("pilot_submitted")) == 1
