"""Warm starts: the same results as cold ones, for whatever a Snakefile does, and nothing shared that must not be."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from ..levels import FORKED, at_level
from ..snakefiles import HELD
from ..workflow import KEEP_LOGS, Workflow


# As much of Snakemake's language as one small workflow can hold; the outputs say what a rule saw.
@pytest.mark.parametrize(
    ("statement", "because"),
    [
        ("import datetime; X = datetime.datetime.now().isoformat()", "calls datetime.now()"),
        ("import time; X = time.time_ns()", "calls time.time_ns()"),
        ("import random; X = random.SystemRandom().random()", "calls random.SystemRandom.random()"),
        ("from helper import X", "calls datetime.now()"),
        ("import random; random.seed(1); random.getrandbits(8); X = 1", "uses random numbers"),
        ("import uuid; X = uuid.uuid4()", "calls uuid.uuid4()"),
        ("import os; X = os.popen('date +%s%N').read().strip()", "starts a process (date)"),
        ("import threading; threading.Thread(target=threading.Event().wait, daemon=True).start(); X = 1", "threads"),
        ("X = workflow.cores", "reads workflow.cores"),
        ("import sqlite3; X = sqlite3.connect(':memory:').execute('select 1').fetchone()", "opens a database"),
        ("from polars import X", "uses polars, which opens files unseen"),
        ("X = open('parses', 'a').write('one more')", "appends to "),
        ("X = open('helper.py')", "keeps "),
        ("import threading; X = 1; LOCK = [threading.Lock()]", "keeps a lock (LOCK)"),
        ("import random; X = 1; RANDOM = random.Random(1)", "keeps a random generator (RANDOM)"),
        ("X = 1; from shared import POOLS", "keeps a pool (POOLS)"),
        ("X = 1; NUMBERS = iter(range(5))", "keeps an iterator (NUMBERS)"),
        ("import os, tempfile; tempfile.tempdir = os.getcwd(); X = 1", "sets tempfile.tempdir"),
        ("import os; os.environ['TMPDIR'] = os.getcwd(); X = 1", "sets TMPDIR, which each job has its own of"),
        ("import os; X = os.environ.get('TMPDIR', '') and 1", "reads TMPDIR, which each job has its own of"),
        ("import signal; signal.signal(signal.SIGUSR1, print); X = 1", "handles signals"),
    ],
)
def test_a_parse_that_may_not_be_shared_is_not_and_the_journal_says_why(
    workflow: Workflow, statement: str, because: str
) -> None:
    workflow.write("import datetime\nX = datetime.datetime.now().isoformat()\n", "helper.py").write(
        "X = 1", "polars.py"
    )
    workflow.write("import concurrent.futures\nPOOLS = [concurrent.futures.ThreadPoolExecutor(1)]\n", "shared.py")
    workflow.write(f"""
        import sys; sys.path.insert(0, {str(workflow.folder)!r})
        {statement}
        rule all:
            input: "0", "1"
        rule a:
            output: "{{i}}"
            params: x=X
            run:
                open(output[0], "w").write(str(params.x))
    """)
    assert workflow.run("--jobs", "2", "--cores", "2") == 0, workflow.output[-3000:]
    ended = workflow.journal("job_ended")
    assert {event["warm_start"] for event in ended} == {"import"}
    assert all(because in event["colder_because"] for event in ended)


# What real Snakefiles have at their top, and what is no reason against the fastest level.
ORDINARY = """
    # now() time() random() polars sys.argv
    import csv, datetime, functools, json, logging, os, random, re, subprocess, sys, threading, time, uuid
    from collections import defaultdict, namedtuple
    from dataclasses import dataclass
    from pathlib import Path
    import yaml
    from snakemake.utils import min_version, validate
    min_version("9.0")
    with open("table.tsv") as table:
        reader = csv.DictReader(table, delimiter="\\t")
        ROWS = {row["sample"]: row for row in reader}
    VERSION = subprocess.run(["git", "--version"], capture_output=True, text=True).stdout
    Path("seen.yaml").write_text(yaml.safe_dump(ROWS))
    with open("seen.yaml") as seen:
        assert yaml.safe_load(seen) == ROWS
    thread = threading.Thread(target=print); thread.start(); thread.join(); del thread
    sys.stderr.write("parsing"); logger.info("parsing"); logging.getLogger("x").warning("parsing")
    Row = namedtuple("Row", "a b")
    row, pattern, groups = Row(1, [2]), re.compile("a"), defaultdict(list, a=[Path("a")])
    @dataclass
    class Sample:
        name: str
    SAMPLES = [Sample(name) for name in ROWS]
    @functools.lru_cache
    def today(): return datetime.date.today()
    def sample(wildcards): return [time.time(), uuid.uuid4(), random.random()] and ROWS[wildcards.sample]["n"]
    rule all:
        input: expand("{sample}.txt", sample=ROWS)
    rule a:
        output: "{sample}.txt"
        params: n=sample
        run:
            assert time.time() and today() and random.random()
            Path(output[0]).write_text(f"{params.n} {row} {SAMPLES}")
"""
TABLES = """
    import numpy as np
    import pandas as pd
    samples = pd.read_csv("table.tsv", sep="\\t", dtype=str).set_index("sample", drop=False).sort_index()
    numbers, groups = samples["n"].astype(int), samples.groupby("n")
    weights = np.linalg.inv(np.eye(300)) @ np.ones((300, 300))  # in threads of its own
    rule all:
        input: expand("{sample}.txt", sample=samples["sample"])
    rule a:
        output: "{sample}.txt"
        run:
            with open(output[0], "w") as file:
                print(samples.loc[wildcards.sample, "n"], numbers.sum(), weights.sum(), file=file)
                print(np.random.random() < 1, file=file)
"""


@pytest.mark.parametrize("snakefile", [ORDINARY, TABLES], ids=["ordinary", "tables"])
def test_ordinary_snakefiles_get_the_fastest_level(tmp_path: Path, snakefile: str) -> None:
    if snakefile is TABLES:
        pytest.importorskip("pandas")
    found = {}
    for level in ("workflow", "off"):
        workflow = at_level(level, tmp_path).write(snakefile).write("sample\tn\na\t1\nb\t2\n", "table.tsv")
        assert workflow.run() == 0, workflow.output[-3000:]
        ended = workflow.journal("job_ended")
        assert {(event["warm_start"], event["colder_because"]) for event in ended} == {(level, "")}
        found[level] = [workflow.read("a.txt"), workflow.read("b.txt")]
    assert found["workflow"] == found["off"]


# What a rule has at its end that Python ends for it, each with a file that shows it.
ENDINGS = """
    import atexit, threading, zipfile
    from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
    def write(name): open(name, "w").write("written")
    rule all:
        input: "pool", "timer", "archive"
    rule pool:
        output: "pool"
        run:
            global pools
            pools = [ThreadPoolExecutor(2), ProcessPoolExecutor(2)]
            for pool in pools:
                pool.submit(len, "a").result()
            write(output[0])
    rule timer:
        output: "timer"
        run:
            threading.Timer(0.5, write, ["fired"]).start()
            atexit.register(write, "exited")
            write(output[0])
    rule archive:
        output: "archive"
        run:
            global archive
            archive = zipfile.ZipFile(output[0], "w")
            archive.writestr("name", "content")
"""


def test_jobs_end_as_python_ends(any_warmth: Workflow) -> None:
    workflow = any_warmth.write(ENDINGS)
    assert workflow.run(timeout=100) == 0, workflow.output[-3000:]
    assert [workflow.read(name) for name in ("fired", "exited")] == ["written"] * 2
    with zipfile.ZipFile(workflow.folder / "archive") as archive:
        assert archive.read("name") == b"content"


def test_a_rule_that_fails_while_its_pool_lives_ends(any_warmth: Workflow) -> None:
    workflow = any_warmth.write("""
        from concurrent.futures import ThreadPoolExecutor
        rule all:
            output: "never"
            run:
                global pool
                pool = ThreadPoolExecutor(2)
                pool.submit(len, "a").result()
                raise ValueError("as it was told")
    """)
    assert workflow.run(timeout=100) == 1
    assert "as it was told" in workflow.output


HELPED = """
    import helpers
    rule second:
        input: "first"
        output: "second"
        run:
            open(output[0], "w").write(str(helpers.NUMBER))
    rule first:
        output: "first"
        run:
            open("helpers.py", "w").write("NUMBER = 2222")
            open(output[0], "w").write(str(helpers.NUMBER))
"""


@pytest.mark.parametrize("writes_compiled", [True, False])
def test_a_module_that_a_rule_rewrites_is_loaded_anew(any_warmth: Workflow, writes_compiled: bool) -> None:
    """Also where Python has loaded it from what it had compiled, and never opened its source."""
    workflow = any_warmth.write(HELPED).write("NUMBER = 1", "helpers.py")
    workflow.env.pop("PYTHONDONTWRITEBYTECODE", None)
    if not writes_compiled:
        workflow.env["PYTHONDONTWRITEBYTECODE"] = "1"
    assert workflow.run() == 0, workflow.output[-3000:]
    assert (workflow.read("first"), workflow.read("second")) == ("1", "2222")
    assert (workflow.folder / "__pycache__").exists() is writes_compiled


def test_a_parse_that_each_job_would_repeat_is_given_up(workflow: Workflow) -> None:
    """Outputs appear in the folder that the Snakefile lists."""
    for i in range(6):
        workflow.write("", f"{i}.in")
    workflow.write("""
        rule all:
            input: expand("{i}.out", i=glob_wildcards("{i,[0-9]}.in").i)
        rule a:
            input: "{i}.in"
            output: "{i}.out"
            run: open(output[0], "w").close()
    """)
    assert workflow.run("--jobs", "1") == 0, workflow.output[-3000:]
    ended = workflow.journal("job_ended")
    because = f"parsed again and again: {workflow.folder}"
    assert {event["warm_start"] for event in ended[2:]} == {"import"}
    assert all(because in event["colder_because"] for event in ended if event["warm_start"] == "import")


def test_what_is_printed_in_a_warm_parse_is_in_no_file(workflow: Workflow) -> None:
    workflow.write("""
        import sys
        print("said to stdout"); sys.stdout.write("not ended"); print("said to stderr", file=sys.stderr)
        rule all:
            output: "out"
            run:
                print("said by the rule")
                open(output[0], "w").close()
    """)
    assert workflow.run("--jobs", "2", KEEP_LOGS) == 0, workflow.output[-3000:]
    (log,) = (path for path in workflow.run_folders[-1].glob("logs/*/*") if path.is_file())
    assert "said by the rule" in log.read_text()
    assert not any(words in log.read_text() for words in ("said to", "not ended"))


def test_a_parse_that_depends_on_files_that_jobs_change_comes_out_right(any_warmth: Workflow) -> None:
    """Each job sees the files that are there when it starts, as a new Snakemake would."""
    any_warmth.write("VALUE = '0'", "module.py").write("0", "0").write("value: 0", "values.yaml")
    (any_warmth.folder / "link").symlink_to("0")
    any_warmth.write(r'''
        import glob, os, sys
        import csv, yaml
        sys.path.insert(0, os.getcwd())
        from module import VALUE
        SEEN = sorted(glob.glob("made/*"))
        FACTS = [os.path.exists("made/1"), VALUE, open("link").read().strip()]
        FACTS += [yaml.safe_load(open("values.yaml"))["value"]]
        FACTS += [next(csv.reader(open("table.csv"))) if os.path.exists("table.csv") else None]
        rule all:
            input: "report3"
        rule make:
            input: lambda wildcards: f"report{int(wildcards.i) - 1}" if int(wildcards.i) > 1 else []
            output: "made/{i}"
            shell: r"""
                echo {wildcards.i} > {output}; ln -sfn {output} link; echo 'value: {wildcards.i}' > values.yaml
                printf '%0{wildcards.i}d,b\n' 1 > table.csv
                printf 'VALUE = "%0{wildcards.i}d"' 1 > module.py
                """
        rule report:
            input: "made/{i}"
            output: "report{i}"
            params: facts=lambda wildcards: str([*SEEN, *FACTS]).replace(chr(39), "")
            shell: "echo '{params.facts}' > {output}"
    ''')
    assert any_warmth.run() == 0, any_warmth.output[-3000:]
    reports = [any_warmth.read(f"report{i}") for i in (1, 2, 3)]
    assert reports == [
        "[made/1, True, 1, 1, 1, [1, b]]\n",
        "[made/1, made/2, True, 01, 2, 2, [01, b]]\n",
        "[made/1, made/2, made/3, True, 001, 3, 3, [001, b]]\n",
    ]


def test_a_rule_that_edits_a_config_file_is_seen_by_the_next(any_warmth: Workflow) -> None:
    any_warmth.write("value: 1\n", "config.yaml")
    any_warmth.write("""
        configfile: "config.yaml"
        rule second:
            input: "first"
            output: "second"
            shell: "echo {config[value]} > {output}"
        rule first:
            output: "first"
            shell: "echo {config[value]} > {output}; echo 'value: 2' > config.yaml"
    """)
    assert any_warmth.run() == 0
    assert (any_warmth.read("first"), any_warmth.read("second")) == ("1\n", "2\n")


def test_a_snakefile_that_cannot_be_parsed_in_a_pilot_fails_as_it_does_cold(any_warmth: Workflow) -> None:
    any_warmth.write("""
        import os
        if os.path.exists("broken"):
            raise ValueError("this is broken now")
        rule second:
            input: "broken"
            output: "second"
            shell: "touch {output}"
        rule first:
            output: "broken"
            shell: "touch {output}"
    """)
    assert any_warmth.run() == 1
    assert "Error in rule second" in any_warmth.output
    assert "this is broken now" in any_warmth.output


# getattr: what a parse may not ask for would be doubted, and the job started colder.
FACTS = """
    import signal as signals
    signals.signal(signals.SIGPIPE, signals.SIG_DFL)  # a Snakefile's own are its jobs' own
    signals.signal(signals.SIGHUP, signals.SIG_IGN)
    rule all:
        input: expand("{i}", i=range(4))
    rule a:
        output: "{i}"
        run:
            import asyncio, json, logging, os, random, resource, signal, sys, tempfile, threading
            kinds = []
            for fd in os.listdir("/proc/self/fd"):
                try:
                    kinds.append(os.readlink(f"/proc/self/fd/{fd}").partition(":[")[0])
                except OSError:
                    pass  # the listing itself
            facts = {
                "number": random.getrandbits(128),
                "name": os.path.basename(getattr(tempfile, "mktemp")()),
                "same": {
                    "descriptors": sorted(kind for kind in kinds if "/" not in kind),  # Snakemake opens files beside
                    "leader": os.getsid(0) == getattr(os, "getpid")(),
                    "signals": [str(signal.getsignal(s)).split(" at ")[0] for s in (1, 2, 13, 15, 17, 25)],
                    "umask": os.umask(0o27),
                    "blocked": [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])],
                    "limits": [resource.getrlimit(number) for number in range(16)],
                    "variables": sorted(name for name in os.environ if name != "TMPDIR"),
                    "cwd": os.path.basename(os.getcwd()),
                    "nice": os.nice(0),
                    "cpus": len(os.sched_getaffinity(0)),
                    "killable": open("/proc/self/oom_score_adj").read(),
                    "locks": sorted(os.listdir(".snakemake/locks")),
                    "seen": [os.path.exists(output[0]), os.path.exists("late.py")],
                    "stdin": sys.stdin.read(),
                    "handlers": [str(type(handler)) for handler in logging.getLogger("snakemake").handlers],
                    "root handlers": [str(type(handler)) for handler in logging.getLogger().handlers],
                    "loop policy": str(type(asyncio.get_event_loop_policy())),
                    # A cold job has Snakemake's timer for the rate of jobs, for a second.
                    "threads": sorted(type(t).__name__ for t in threading.enumerate() if not hasattr(t, "cancel")),
                    "path": [entry for entry in sys.path if "daskjq" in entry or "/tmp" in entry],
                    "argv": __import__("sys").argv[1:3],
                },
            }
            json.dump(facts, open(output[0], "w"))
"""


def test_what_a_fork_must_not_share(tmp_path: Path) -> None:
    """Random numbers and temporary names are each job's own; descriptors, signals and threads as in a cold one."""
    seen = {}
    for level in FORKED:
        workflow = at_level(level, tmp_path).write(FACTS)
        assert workflow.run() == 0, workflow.output[-3000:]
        assert {event["warm_start"] for event in workflow.journal("job_ended")} == {level}
        seen[level] = [json.loads(workflow.read(str(i))) for i in range(4)]
    same = {level: [json.dumps(fact["same"]).replace(level, "LEVEL") for fact in seen[level]] for level in seen}
    for level in ("import", "workflow"):
        assert len({fact["number"] for fact in seen[level]}) == 4
        assert len({fact["name"] for fact in seen[level]}) == 4
        assert set(same[level]) <= set(same["off"])


ONLY_JOB = """
    rule all:
        input: "shell", "run"
    rule command:
        output: "shell"
        shell: "ls /proc/$PPID/task | wc -l > {output}"
    rule python:
        output: "run"
        run:
            import os
            open(output[0], "w").write(str(len(os.listdir("/proc/self/task"))))
"""


@pytest.mark.parametrize("level", ["import", "workflow"])
def test_a_shell_command_needs_no_thread_and_python_has_its_own(tmp_path: Path, level: str) -> None:
    workflow = at_level(level, tmp_path).write(ONLY_JOB)
    assert workflow.run() == 0, workflow.output[-3000:]
    assert int(workflow.read("shell")) == 1
    assert int(workflow.read("run")) == 2


SIGNALS = ("TERM", "INT", "HUP", "CHLD")
SIGNALLED = f"""
    rule all:
        input: {SIGNALS}
    rule signal:
        output: "{{name}}"
        shell: "kill -{{wildcards.name}} $PPID; sleep 2; touch {{output}} reached_{{output}}"
"""


def test_signals_to_a_job_s_own_snakemake_have_the_same_effects_at_all_its_levels(tmp_path: Path) -> None:
    found = {}
    for level in FORKED:
        workflow = at_level(level, tmp_path).write(SIGNALLED)
        assert workflow.run("--keep-going", "--jobs", "100", "--latency-wait", "0") == 1, workflow.output[-3000:]
        found[level] = (
            [(workflow.folder / name).exists() for name in SIGNALS],
            [(workflow.folder / f"reached_{name}").exists() for name in SIGNALS],
            sorted(str((event["exit_status"], event["signal_number"])) for event in workflow.journal("job_ended")),
        )
    assert found["import"] == found["workflow"] == found["off"]
    assert found["off"][0] == [False, False, False, True]


LEFT_OPEN = """
    rule all:
        input: "text", "bytes", "c"
    rule text:
        output: "text"
        run:
            global text
            text = open(output[0], "w")
            text.write("left open")
    rule bytes:
        output: "bytes"
        run:
            global binary
            binary = open(output[0], "w+b")
            binary.write(b"left open")
    rule c:
        output: "c"
        run:
            import ctypes
            libc = ctypes.CDLL(None)
            libc.fopen.restype = ctypes.c_void_p
            libc.fputs(b"left open", ctypes.c_void_p(libc.fopen(output[0].encode(), b"w")))
"""


def test_files_that_a_rule_leaves_open_are_written(any_warmth: Workflow) -> None:
    workflow = any_warmth.write(LEFT_OPEN)
    assert workflow.run() == 0, workflow.output[-3000:]
    assert [workflow.read(name) for name in ("text", "bytes", "c")] == ["left open"] * 3


PUT_ASIDE = """
    from pathlib import Path
    rule all:
        input: "second"
    rule first:
        output: "first"
        run:
            folder = Path(workflow.sourcecache.runtime_cache_path)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "kept").touch()
            Path(output[0]).write_text(str(folder))
    rule second:
        input: "first"
        output: "second"
        run:
            kept = Path(workflow.sourcecache.runtime_cache_path, "kept")
            Path(output[0]).write_text(f"{kept.exists()} {str(kept.parent) == Path(input[0]).read_text()}")
"""


def test_what_a_parse_has_put_aside_is_removed_by_the_host_and_not_by_forked_jobs(workflow: Workflow) -> None:
    """Sources that a job has copied there are others' too, and must not be removed while these read them."""
    temporary = workflow.folder / "temporary"
    temporary.mkdir()
    workflow.env["TMPDIR"] = str(temporary)
    workflow.write(PUT_ASIDE)
    assert workflow.run() == 0, workflow.output[-3000:]
    assert {event["warm_start"] for event in workflow.journal("job_ended")} == {"workflow"}
    assert workflow.read("second") == "True True"
    assert not Path(workflow.read("first")).exists()
    assert list(temporary.glob("snakemake*")) == []


LATE = """
    import os, sys
    sys.path.insert(0, ".")
    try:
        import late
    except ImportError:
        pass
    rule all:
        input: "out"
    rule write:
        output: "late.py"
        shell: "echo 'VALUE = 1' > {output}"
    rule use:
        input: "late.py"
        output: "out"
        run:
            import late
            open(output[0], "w").write(f"{late.VALUE} {os.path.getsize(input[0])}")
"""


def test_what_jobs_make_is_seen_by_the_next_whatever_the_host_has_looked_for(any_warmth: Workflow) -> None:
    """Python remembers the contents of folders that it imports from, and Snakemake which files are there."""
    workflow = any_warmth.write(LATE)
    assert workflow.run() == 0, workflow.output[-3000:]
    assert workflow.read("out") == "1 10"


def test_two_contexts_work_side_by_side_on_one_pilot(workflow: Workflow) -> None:
    """Two workflows can't share a pilot yet, but secrets and arguments make contexts too: here, a stale one."""
    workflow.env["SNAKEMAKE_DASKJQ_WARM_START"] = "workflow"
    workflow.write("""
        import os
        N = len(os.listdir("made")) if os.path.exists("made") else 0
        rule all:
            input: "slow", "made/late"
        rule slow:
            output: "slow"
            shell: "touch up; while [ ! -e made/late ]; do sleep 0.05; done; echo {N} > {output}"
        rule early:
            output: "made/early"
            shell: "while [ ! -e up ]; do sleep 0.05; done; touch {output}"
        rule late:
            input: "made/early"
            output: "made/late"
            shell: "sleep 0.2; echo {N} > {output}"
    """)
    assert workflow.run("--jobs", "2", "--daskjq-cores", "2") == 0
    assert (workflow.read("slow"), workflow.read("made/late")) == ("0\n", "1\n")
    assert {event["warm_start"] for event in workflow.journal("job_ended")} == {"workflow"}


def test_a_warm_host_that_dies_costs_its_jobs_a_try_and_no_result(workflow: Workflow) -> None:
    workflow.env["SNAKEMAKE_DASKJQ_WARM_START"] = "workflow"
    workflow.write(HELD)
    process = workflow.start("--jobs", "1")
    workflow.wait_for_line("tries")
    workflow.host.kill()
    workflow.wait_until(lambda: workflow.read("tries").count("\n") == 2)
    (workflow.folder / "go").touch()
    assert process.wait(60) == 0
    assert [event["end"] for event in workflow.journal("job_ended")] == ["lost", "succeeded"]
    assert workflow.journal("pilot_lost") == []
