"""A forked process takes the steps that Python takes at its end, for what has come since the fork."""

from __future__ import annotations

import gzip
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

PROGRAM = """
import gc, os, sys
sys.path.insert(0, {root!r})
from snakemake_executor_daskjq.launcher.endings import end_as_python_does
class Noted:
    def __init__(self, name):
        self.name = name
    def __del__(self):
        open("ended", "a").write(self.name + "\\n")
hosts = Noted("host")
before = dict(globals())
gc.collect()
gc.freeze()
pid = os.fork()
if pid:
    os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
try:
{job}
finally:
    end_as_python_does(globals(), before)
    os._exit(3)
"""


def end(folder: Path, job: str) -> int:
    code = PROGRAM.format(root=str(Path(__file__).parents[3]), job=textwrap.indent(textwrap.dedent(job), "    "))
    return subprocess.run([sys.executable, "-c", code], cwd=folder, stderr=subprocess.PIPE, timeout=30).returncode


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


@pytest.mark.parametrize(
    "job",
    [
        "import concurrent.futures as f; pool = f.ThreadPoolExecutor(2); pool.submit(print).result()",
        "import concurrent.futures as f; pool = f.ProcessPoolExecutor(2); pool.submit(len, 'a').result()",
        "import multiprocessing as m; pool = m.Pool(2); pool.map(len, 'ab')",
        "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()",
        "import concurrent.futures as f; pool = f.ThreadPoolExecutor(2); pool.submit(print).result(); 1 / 0",
    ],
)
def test_idle_pools_and_daemons_hold_nothing_up(tmp_path: Path, job: str) -> None:
    assert end(tmp_path, job) == 3


def test_threads_and_timers_come_to_their_end_before_exit_functions(tmp_path: Path) -> None:
    job = """
        import atexit, threading
        write = lambda text: open("order", "a").write(text + " ")
        atexit.register(write, "atexit")
        threading.Timer(0.2, write, ["timer"]).start()
        threading._register_atexit(write, "hook")
        open("order", "a").write("main ")
    """
    assert end(tmp_path, job) == 3
    assert read(tmp_path / "order") == "main hook timer atexit "


def test_objects_end_once_and_those_of_the_host_do_not(tmp_path: Path) -> None:
    job = """
        import types
        mine = Noted("mine")
        cycle = Noted("cycle"); cycle.itself = cycle
        module = types.ModuleType("module"); sys.modules["module"] = module
        module.name = Noted("module")
        local = Noted("gone"); del local
    """
    assert end(tmp_path, job) == 3
    assert sorted(read(tmp_path / "ended").split()) == ["cycle", "gone", "mine", "module"]


def test_what_is_left_open_is_written_to_its_end(tmp_path: Path) -> None:
    job = """
        import gzip, types, zipfile
        archive = zipfile.ZipFile("a.zip", "w"); archive.writestr("name", "content")
        packed = gzip.open("a.gz", "wt"); packed.write("content")
        text = open("a.txt", "w"); text.write("content")
        keep = sys.modules["keep"] = types.ModuleType("keep")
        keep.archive = zipfile.ZipFile("b.zip", "w"); keep.archive.writestr("name", "content")
        keep.packed = gzip.open("b.gz", "wt"); keep.packed.write("content")
        keep.text = open("b.txt", "w"); keep.text.write("content")
    """
    assert end(tmp_path, job) == 3
    for name in "ab":
        with zipfile.ZipFile(tmp_path / f"{name}.zip") as archive:
            assert archive.read("name") == b"content"
        with gzip.open(tmp_path / f"{name}.gz", "rt") as packed:
            assert packed.read() == "content"
        assert read(tmp_path / f"{name}.txt") == "content"


def test_an_object_that_fails_at_its_end_keeps_no_other_from_it(tmp_path: Path) -> None:
    job = """
        class Failing:
            def __del__(self):
                raise ValueError
        first, mine, last = Failing(), Noted("mine"), Failing()
    """
    assert end(tmp_path, job) == 3
    assert read(tmp_path / "ended") == "mine\n"
