"""A rehearsal: a fork server runs a small job of its own several times, and puts everything back.

Python makes code fast that has run some times, and keeps what it has looked up, in the memory of the code. A child
would do that anew in each job, and copy the pages for it. The first round finds out which code jobs run. The
rehearsal is a test too: where Snakemake can't run it, nothing is forked from this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
import tempfile
import threading
import warnings
from typing import TYPE_CHECKING

from .copy_on_write import gather_code
from .python_internals import forget_ended_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import CodeType, FrameType

ROUNDS = 10
"""In its eighth call Python 3.11 begins to specialize the code of a function; children would pay for the rest."""

_SNAKEFILE = """
rule daskjq_rehearsal:
    input: "in"
    output: "out/{i}"
    params: i=lambda wildcards: wildcards.i
    log: "log/{i}"
    resources: mem_mb=1
    shell: ": {params.i} {input} > {output}"
"""
_ARGUMENTS = (
    *("--force", "--nolock", "--retries", "0", "--scheduler", "greedy", "--mode", "remote", "--cores", "1"),
    *("--max-inventory-time", "0", "--no-hooks", "--quiet", "progress", "rules", "host", "--force-use-threads"),
    *("--default-resources", "tmpdir=system_tmpdir", "--allowed-rules", "daskjq_rehearsal", "--target-jobs"),
)


def rehearse(main: Callable[[Sequence[str]], None], tmpdirs: str, *, takes_cache_path: bool) -> bool:
    """Run `main` with the arguments of a small job some times; False if it did not succeed each time.

    `tmpdirs`: where its folder is made: the pilot's, which removes all that is in it ("" for the system's).
    `takes_cache_path`: whether this Snakemake has the option (from 9.14 on); an older one has the user's own cache,
    which these jobs put nothing into. Raises OSError where there is no room for its files.
    """
    with tempfile.TemporaryDirectory(prefix="rehearsal-", dir=tmpdirs or None) as folder, _put_back():
        os.chdir(folder)
        for name, text in (("Snakefile", _SNAKEFILE), ("in", "")):
            with open(name, "w", encoding="utf-8") as file:
                file.write(text)
        cache = ["--runtime-source-cache-path", f"{folder}/cache"] if takes_cache_path else []

        def play(i: int) -> None:
            with contextlib.suppress(SystemExit):
                main([*cache, *_ARGUMENTS, f"daskjq_rehearsal:i={i}"])

        with _called() as codes:
            play(0)
        gather_code(codes.values())
        for i in range(1, ROUNDS + 1):
            play(i)
        return len(os.listdir("out")) == ROUNDS + 1 if os.path.isdir("out") else False


@contextlib.contextmanager
def _called() -> Iterator[dict[int, CodeType]]:
    """Gathers the code of all Python functions that are called, in all threads."""
    found: dict[int, CodeType] = {}

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            found[id(frame.f_code)] = frame.f_code

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


@contextlib.contextmanager
def _put_back() -> Iterator[None]:
    """Silence, and afterwards everything of the process as it was before."""
    cwd, argv, path, environment = os.getcwd(), sys.argv, list(sys.path), dict(os.environ)
    handlers = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)}
    streams = [os.dup(fd) for fd in (1, 2)]
    null = os.open(os.devnull, os.O_WRONLY)
    for fd in (1, 2):
        os.dup2(null, fd)
    try:
        with warnings.catch_warnings(record=True):  # what is warned of once must still be warned of in a job
            warnings.simplefilter("always")
            yield
    finally:
        for thread in threading.enumerate():
            if isinstance(thread, threading.Timer):
                thread.cancel()
                thread.join()
        gc.collect()
        forget_ended_threads()
        asyncio.set_event_loop_policy(None)
        asyncio.get_event_loop_policy()  # a new one, which children need not make
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv, sys.path[:] = argv, path
        tempfile.tempdir = None
        os.chdir(cwd)
        for fd, stream in zip((1, 2), streams, strict=True):
            os.dup2(stream, fd)
            os.close(stream)
        os.close(null)
