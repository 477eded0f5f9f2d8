"""A rehearsal leaves the process as it was, and says when Snakemake can't run it."""

from __future__ import annotations

import subprocess
import sys

FACTS = """
import asyncio, logging, os, signal, sys, tempfile, threading, warnings
from snakemake_executor_daskjq.launcher.snakemake_internals import Snakemake
snakemake = Snakemake()
import snakemake.workflow
from snakemake.shell import shell

def facts():
    return {
        "cwd": os.getcwd(), "argv": list(sys.argv), "path": list(sys.path), "environment": dict(os.environ),
        "signals": [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)],
        "descriptors": sorted(os.listdir("/proc/self/fd")), "children": len(os.listdir("/proc/self/task")),
        "streams": [os.readlink(f"/proc/self/fd/{fd}") for fd in (1, 2)],
        "threads": list(threading.enumerate()), "dangling": len(threading._dangling),
        "handlers": list(logging.getLogger("snakemake").handlers), "names": set(vars(snakemake.workflow)),
        "shell": (dict(shell._process_args), shell._process_prefix), "tempdir": tempfile.tempdir,
        "files": os.listdir(tempfile.gettempdir()) and None, "filters": list(warnings.filters),
    }

"""


def test_everything_is_put_back() -> None:
    script = (
        FACTS.replace("snakemake = Snakemake()", "host_class = Snakemake()")
        + """
before = facts()
tempfile.tempdir = None
before["tempdir"] = None
host_class.rehearse("")
after = facts()
assert after["tempdir"] is None, after["tempdir"]
different = {name: (before[name], after[name]) for name in before if before[name] != after[name]}
assert not different, different
try:
    asyncio.get_event_loop_policy().get_event_loop().close()
finally:
    print("put back")
"""
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, timeout=120)
    assert done.stdout == "put back\n", done.stderr


def test_a_snakemake_that_fails_is_told() -> None:
    script = """
from snakemake_executor_daskjq.launcher.rehearsal import rehearse
def main(argv):
    raise SystemExit(1)
assert rehearse(main, "", takes_cache_path=True) is False
print("told")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout == "told\n", done.stderr
