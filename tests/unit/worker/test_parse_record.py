from __future__ import annotations

import ast
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

# An audit hook can't be taken back: each record lives in a process of its own.
PROGRAM = """
import glob, os, random, sys
sys.path.insert(0, {root!r})
from snakemake_executor_daskjq.worker.parse_record import ParseRecord
record = ParseRecord()
record.start()
{parse}
record.stop()
print(repr(record.doubt))
{then}
print(repr(record.change()))
"""


def record(tmp_path: Path, parse: str, then: str = "") -> tuple[str, str]:
    """The doubt after `parse`, and the change after `then`."""
    code = PROGRAM.format(root=str(Path(__file__).parents[3]), parse=textwrap.dedent(parse), then=textwrap.dedent(then))
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    doubt, change = map(ast.literal_eval, result.stdout.splitlines())
    return doubt, change


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "table.csv").write_text("a\n")
    (tmp_path / "data").mkdir()
    return tmp_path


def test_what_does_not_change_is_no_change(folder: Path) -> None:
    parse = "open('table.csv').read(); os.path.exists('later'); os.listdir('data'); glob.glob('data/*')"
    assert record(folder, parse, "open('unrelated', 'w').close()") == ("", "")


@pytest.mark.parametrize(
    ("parse", "then", "path"),
    [
        ("open('table.csv').read()", "open('table.csv', 'w').write('b')", "table.csv"),
        ("open('table.csv').read()", "os.remove('table.csv')", "table.csv"),
        ("os.path.exists('later')", "open('later', 'w').close()", "later"),
        ("os.path.isfile('table.csv')", "os.remove('table.csv')", "table.csv"),
        ("os.path.getmtime('table.csv')", "os.utime('table.csv', (1, 1))", "table.csv"),
        ("os.listdir('data')", "open('data/new', 'w').close()", "data"),
        ("glob.glob('data/*.txt')", "open('data/new.txt', 'w').close()", "data"),
        ("list(os.walk('data'))", "os.mkdir('data/below')", "data"),
        ("import pathlib; pathlib.Path('later').exists()", "open('later', 'w').close()", "later"),
        ("import pathlib; list(pathlib.Path('data').iterdir())", "open('data/new', 'w').close()", "data"),
    ],
)
def test_a_change_of_what_was_read_asked_for_or_listed_is_noticed(
    folder: Path, parse: str, then: str, path: str
) -> None:
    doubt, change = record(folder, parse, then)
    assert doubt == ""
    assert change == f"{folder / path} has changed"


@pytest.mark.parametrize(
    ("parse", "doubt"),
    [
        ("random.random()", "uses random numbers"),
        ("import subprocess; subprocess.run(['true'])", "starts a process"),
        ("os.system('true')", "starts a process"),
        ("import socket; socket.getaddrinfo('127.0.0.1', 1)", "opens a connection"),
    ],
)
def test_what_no_file_tells_is_doubted(folder: Path, parse: str, doubt: str) -> None:
    assert record(folder, parse)[0] == doubt


def test_files_that_a_parse_writes_are_doubted_and_those_without_a_name_are_not(folder: Path) -> None:
    assert record(folder, "open('log', 'a').write('parsed')")[0] == f"writes {folder / 'log'}"
    assert (
        record(folder, "import tempfile; tempfile.TemporaryFile(dir='.').write(b'x'); open(os.devnull, 'w')")[0] == ""
    )


def test_sources_are_read_for_clocks_and_data_is_not(folder: Path) -> None:
    (folder / "Snakefile").write_text("T = datetime.now()")
    (folder / "notes.txt").write_text("we met now() and then")
    assert record(folder, "open('notes.txt').read()")[0] == ""
    assert record(folder, "open('Snakefile').read()")[0] == "Snakefile has 'now('"


def test_nothing_is_recorded_afterwards(folder: Path) -> None:
    after = "open('table.csv').read(); os.system('true'); open('table.csv', 'w').write('changed')"
    assert record(folder, "pass", after) == ("", "")
