"""What a parse may leave changed in its process, and what not."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PROGRAM = """
import os, sys
sys.path.insert(0, {root!r})
from snakemake_executor_daskjq.launcher.process_state import (
    ProcessState, import_random_numbers, wait_for_library_threads
)
from snakemake_executor_daskjq.launcher import processes
import_random_numbers()
before = ProcessState()
{parse}
after = ProcessState()
print(before.doubts_after(after), sorted(before.assigned_variables(after)))
os._exit(0)
"""


def told(folder: Path, parse: str) -> str:
    code = PROGRAM.format(root=str(Path(__file__).parents[3]), parse=textwrap.dedent(parse))
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout.strip() or done.stderr


@pytest.mark.parametrize(
    ("parse", "doubt"),
    [
        ("os.chdir('/')", "changes its working directory"),
        ("file = open('kept', 'w')", "keeps {folder}/kept open"),
        ("import random; random.seed(1)", "uses random numbers"),
        ("import signal; signal.signal(signal.SIGUSR1, print)", "handles signals"),
        ("import signal; signal.alarm(100)", "sets an alarm"),
        ("import tempfile; tempfile.tempdir = '/none'", "sets tempfile.tempdir"),
        ("import subprocess; p = subprocess.Popen(['sleep', '5'])", "leaves a process running"),
        ("import threading; threading.Timer(100, print).start()", "starts threads"),
        ("import types; sys.modules['polars'] = types.ModuleType('polars')", "uses polars, which opens files unseen"),
        (
            "import types; sys.modules['torch'] = types.ModuleType('torch')",
            "uses torch, which may not work after a fork",
        ),
    ],
)
def test_what_a_fork_has_not_as_a_parse_of_its_own_is_told(tmp_path: Path, parse: str, doubt: str) -> None:
    assert told(tmp_path, parse) == f"{[doubt.format(folder=tmp_path)]} []"


@pytest.mark.parametrize(
    "parse",
    [
        "import signal; signal.signal(signal.SIGPIPE, signal.SIG_DFL); signal.signal(signal.SIGHUP, signal.SIG_IGN)",
        "open('closed', 'w').close(); null = open(os.devnull)",
        "import threading; t = threading.Thread(target=print); t.start(); t.join(); os.umask(0o27)",
        "import warnings, locale; warnings.simplefilter('ignore'); locale.setlocale(locale.LC_ALL, 'C')",
        "os.chdir('/'); os.chdir(before.cwd)",
        "import subprocess; subprocess.run(['true'])",
    ],
)
def test_what_a_fork_has_alike_is_not(tmp_path: Path, parse: str) -> None:
    assert told(tmp_path, parse).splitlines()[-1] == "[] []"


def test_variables_that_are_set_are_known(tmp_path: Path) -> None:
    assert told(tmp_path, "os.environ['NEW'] = 'x'; del os.environ['PATH']") == "[] ['NEW', 'PATH']"


def test_numpys_random_state_counts_and_its_threads_do_not(tmp_path: Path) -> None:
    pytest.importorskip("numpy")
    assert told(tmp_path, "import numpy; numpy.random.seed(42)") == "['uses random numbers'] []"
    threads = """
        import numpy
        numpy.ones((500, 500)) @ numpy.ones((500, 500))
        wait_for_library_threads()
        assert not processes.has_threads()
    """
    assert told(tmp_path, threads) == "[] []"
