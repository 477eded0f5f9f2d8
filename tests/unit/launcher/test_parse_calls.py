"""What the workflow's own code asks for is heard as it asks; what libraries ask for is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PROGRAM = """
import json, os, sys
sys.path.insert(0, {root!r})
from snakemake_executor_daskjq.launcher.parse_calls import ParseCalls
from snakemake_executor_daskjq.launcher.sources import Sources
sources = Sources()
calls = ParseCalls(sources)
source = open({snakefile!r}).read()
os.environ["SEEN"] = "x"
calls.start()
exec(compile(source, {snakefile!r}, "exec"), {{"__name__": None}})
calls.stop()
looked_for = {{folder: sorted(names) for folder, names in calls.looked_for.items()}}
modules = {{name: module.__file__ for name, module in sources.own_modules().items()}}
json.dump([calls.doubts, sorted(calls.variables), sorted(calls.assigned), looked_for, modules], sys.stdout)
"""


def heard(
    folder: Path, snakefile: str, *options: str
) -> tuple[list[str], list[str], list[str], dict[str, list[str]], dict[str, str]]:
    (folder / "Snakefile").write_text(textwrap.dedent(snakefile))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    code = PROGRAM.format(root=str(Path(__file__).parents[3]), snakefile=str(folder / "Snakefile"))
    command = [sys.executable, *options, "-c", code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, env=environment)
    doubts, variables, assigned, looked_for, modules = json.loads(done.stdout)
    return doubts, variables, assigned, looked_for, modules


@pytest.mark.parametrize(
    ("snakefile", "doubt"),
    [
        ("import time; time.time()", "calls time.time()"),
        ("from time import strftime as f; f('%Y')", "calls time.strftime()"),
        ("import datetime; datetime.datetime.now()", "calls datetime.now()"),
        ("from datetime import date; X = [date.today() for _ in range(1)]", "calls date.today()"),
        ("import os; os.getpid()", "calls os.getpid()"),
        ("import os; os.urandom(1)", "calls os.urandom()"),
        ("import os; len(os.sched_getaffinity(0))", "calls os.sched_getaffinity()"),
        ("import uuid; uuid.uuid4()", "calls uuid.uuid4()"),
        ("from secrets import token_hex; token_hex()", "calls secrets.token_hex()"),
        ("import random; random.Random().random()", "calls random.Random()"),
        ("import random; random.SystemRandom().random()", "calls random.SystemRandom.random()"),
        ("import tempfile; tempfile.TemporaryDirectory().cleanup()", "calls tempfile.TemporaryDirectory()"),
        ("import tempfile; tempfile.NamedTemporaryFile().close()", "calls tempfile.NamedTemporaryFile()"),
        ("import tempfile; tempfile.gettempdir()", "calls tempfile.gettempdir()"),
        ("exec('import time; time.time()')", "calls time.time()"),
        ("class A:\n    import time\n    t = time.time()", "calls time.time()"),
        (
            "import threading, time\nt = threading.Thread(target=lambda: time.time()); t.start(); t.join()",
            "calls time.time()",
        ),
    ],
)
def test_what_differs_between_parses_is_heard(tmp_path: Path, snakefile: str, doubt: str) -> None:
    assert heard(tmp_path, snakefile)[0] == [doubt]


@pytest.mark.parametrize(
    ("statement", "doubt"),
    [
        ("pandas.Timestamp.now()", "calls pandas.Timestamp.now()"),
        ("numpy.random.default_rng().integers(5)", "calls random.SystemRandom.getrandbits()"),
        ("pandas.read_parquet", ""),
    ],
)
def test_what_compiled_libraries_ask_for_in_the_workflows_name_is_heard(
    tmp_path: Path, statement: str, doubt: str
) -> None:
    pytest.importorskip("pandas")
    assert heard(tmp_path, f"import numpy, pandas; {statement}")[0] == ([doubt] if doubt else [])


@pytest.mark.parametrize(
    "snakefile",
    [
        "import datetime, time, uuid, random, tempfile\ndef sample(): return time.time(), uuid.uuid4()",
        "# now() time() polars\nX = 'today()'",
        "import logging; logging.getLogger('x').warning('has a time')",
        "import datetime; datetime.datetime(2020, 1, 1).time(), datetime.datetime.fromisoformat('2020-01-01')",
        "import random; random.Random(1).sample([1, 2], 1)",
        "import email.utils, email.mime.text; email.utils.make_msgid()",
        "import time; time.sleep(0)",
    ],
)
def test_what_is_not_called_or_is_called_by_others_is_not_heard(tmp_path: Path, snakefile: str) -> None:
    assert heard(tmp_path, snakefile)[0] == []


def test_variables_that_the_workflow_reads_are_known(tmp_path: Path) -> None:
    snakefile = """
        import os, subprocess, shutil
        os.environ["A"] = "x"  # is set, not read
        os.environ["SEEN"] = "x"  # as it was
        os.environ.get("B"), os.getenv("C"), os.environ["SEEN"], "D" in os.environ  # asking is reading
        shutil.which("sh")
    """
    doubts, variables, assigned, *_ = heard(tmp_path, snakefile)
    assert (doubts, variables, assigned) == ([], ["B", "C", "D", "SEEN"], ["A", "SEEN"])


@pytest.mark.parametrize("options", [(), ("-B",)])
def test_modules_of_the_workflow_are_known_also_from_compiled_files(tmp_path: Path, options: tuple[str, ...]) -> None:
    (tmp_path / "helper.py").write_text("import time\nX = time.time()\n")
    snakefile = f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        import helper
        try:
            import absent.below
        except ImportError:
            pass
        import json.tool
    """
    for _ in range(2):  # the second time from a .pyc, unless -B is given
        doubts, _, _, looked_for, modules = heard(tmp_path, snakefile, *options)
        assert doubts == ["calls time.time()"]
        assert modules == {"helper": str(tmp_path / "helper.py")}
        assert {"absent", "helper"} <= set(looked_for[str(tmp_path)])
    assert (tmp_path / "__pycache__").exists() is not bool(options)


def test_a_profiler_of_the_snakefiles_own_is_told(tmp_path: Path) -> None:
    assert heard(tmp_path, "import sys; sys.setprofile(None)")[0] == ["has a profiler of its own"]
