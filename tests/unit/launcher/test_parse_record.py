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
from snakemake_executor_daskjq.launcher.parse_record import ParseRecord
record = ParseRecord()
record.start()
{parse}
record.stop({stop})
print(repr(record.doubt))
{then}
print(repr(record.change()))
"""


def record(tmp_path: Path, parse: str, then: str = "", stop: str = "") -> tuple[str, str]:
    """The doubt after `parse`, and the change after `then`."""
    parse, then = textwrap.dedent(parse), textwrap.dedent(then)
    code = PROGRAM.format(root=str(Path(__file__).parents[3]), parse=parse, then=then, stop=stop)
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
        ("import subprocess; subprocess.run(['true'])", "starts a process (true)"),
        ("os.system('true')", "starts a process (true)"),
        ("os.system('git log | head')", "starts a process (sh)"),
        ("os.popen('date +%s').read()", "starts a process (date)"),
        ("os._exit(0) if os.fork() == 0 else os.wait()", "starts a process"),
        ("import socket; socket.getaddrinfo('127.0.0.1', 1)", "opens a connection"),
        ("import sqlite3; sqlite3.connect(':memory:').close()", "opens a database"),
    ],
)
def test_what_no_file_tells_is_doubted(folder: Path, parse: str, doubt: str) -> None:
    assert record(folder, parse)[0] == doubt


@pytest.mark.parametrize(
    "parse",
    [
        "import subprocess; subprocess.run(['git', '--version'], stdout=subprocess.DEVNULL)",
        "import subprocess; subprocess.run('/usr/bin/uname -a', shell=True, stdout=subprocess.DEVNULL)",
        "os.popen('hostname').read()",
    ],
)
def test_what_a_program_answers_each_job_alike_is_not_doubted(folder: Path, parse: str) -> None:
    assert record(folder, parse) == ("", "")


@pytest.mark.parametrize(
    ("parse", "doubt"),
    [
        ("open('table.csv', 'a').write('one more')", "appends to {}"),
        ("open('log', 'a').write('parsed')", "appends to {}"),
        ("open('table.csv', 'r+').write('b')", "changes {}"),
        ("os.close(os.open('table.csv', os.O_WRONLY))", "changes {}"),
        (
            "n = len(open('table.csv').read()); open('table.csv', 'w').write('a' * (n + 1))",
            "changes {}, which it has read",
        ),
        ("os.remove('table.csv')", "removes {}"),
        ("os.rename('table.csv', 'other')", "moves {}"),
    ],
)
def test_a_parse_that_goes_on_where_the_last_one_ended_is_doubted(folder: Path, parse: str, doubt: str) -> None:
    path = folder / ("log" if "log" in parse else "table.csv")
    assert record(folder, parse)[0] == doubt.format(path)


@pytest.mark.parametrize(
    "parse",
    [
        "open('table.csv', 'w').write('a\\n')",
        "open('new', 'w').write('b')",
        "open('table.csv').read(); open('table.csv', 'w').write('a\\n')",
        "open('new', 'x').write('b')",
        "open('new', 'w+').write('b')",
        "os.path.exists('new'); open('new', 'w').write('b'); open('new').read()",
        "import tempfile; tempfile.TemporaryFile(dir='.').write(b'x'); open(os.devnull, 'w')",
        "open('part', 'w').write('b'); os.rename('part', 'new')",
    ],
)
def test_files_that_each_parse_writes_alike_are_not_doubted(folder: Path, parse: str) -> None:
    assert record(folder, parse) == ("", "")


def test_a_written_file_has_changed_when_its_contents_have(folder: Path) -> None:
    parse = "open('new', 'w').write('b'); open('new').read(); os.path.exists('new')"
    assert record(folder, parse, "open('new', 'w').write('b'); os.utime('new', (1, 1))") == ("", "")
    (folder / "new").unlink()
    assert record(folder, parse, "open('new', 'w').write('c')") == ("", f"{folder / 'new'} has changed")
    (folder / "new").unlink()
    assert record(folder, parse, "os.remove('new')") == ("", f"{folder / 'new'} has changed")


def test_sources_of_modules_are_read_however_they_were_loaded(folder: Path) -> None:
    (folder / "helper.py").write_text("A = 1")
    stop = "['helper.py']"
    assert (
        record(folder, "pass", "open('helper.py', 'w').write('A = 22')", stop)[1]
        == f"{folder / 'helper.py'} has changed"
    )


@pytest.mark.parametrize(
    ("then", "changed"),
    [
        ("open('unrelated.py', 'w').close()", False),
        ("open('late.py', 'w').close()", True),
        ("os.mkdir('late')", True),
        ("open('late.cpython-311-x86_64-linux-gnu.so', 'w').close()", True),
        ("open('unrelated', 'w').close(); record.change(); open('late.py', 'w').close()", True),
    ],
)
def test_a_module_that_was_looked_for_and_comes_is_a_change(folder: Path, then: str, changed: bool) -> None:
    parse = """
        sys.path.insert(0, os.getcwd())
        try:
            import late
        except ImportError:
            pass
    """
    change = f"{folder} has changed" if changed else ""
    assert record(folder, parse, then, "looked_for={os.getcwd(): ['late']}") == ("", change)


def test_nothing_is_recorded_afterwards(folder: Path) -> None:
    after = "open('table.csv').read(); os.system('true'); open('table.csv', 'w').write('changed')"
    assert record(folder, "pass", after) == ("", "")
