"""What has to be so on a pilot's machine before a direct start's command is executed.

The main process has prepared the job. What an earlier run or try has left is removed at the last moment, and here. On
another machine the main process' view of a shared file system may be ahead of ours, and the job's folder for temporary
files is known here only.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from typing import TYPE_CHECKING

from ..model.request import TMPDIR, template_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LOOK_EVERY_S = 0.2
SHOWN_FILES = 10

FEW = 64
"""To look at so many files takes no time, also on a network file system."""


def make_ready(
    stale: Iterable[tuple[str, bool]],
    folders: Iterable[str],
    wait_for: Sequence[str],
    wait_s: float,
    fill: Iterable[str],
    tmpdir: str,
) -> None:
    """Remove what is `stale`, make `folders`, await files, and put `tmpdir` into those of `fill`.

    Raises OSError, TimeoutError among them where files are not there after `wait_s` seconds.
    """
    for path, whole in stale:
        _remove(path, whole=whole)
    for folder in folders:
        os.makedirs(folder, exist_ok=True)
    _await(wait_for, wait_s)
    for path in fill:
        _fill(path, tmpdir)


def make_ready_at_once(
    stale: Sequence[tuple[str, bool]],
    folders: Sequence[str],
    wait_for: Sequence[str],
    wait_s: float,
    fill: Sequence[str],
    cwd: str,
) -> bool:
    """Do what `make_ready` does where that takes no time. False where it may take some: all is still to be done then.

    Raises OSError.
    """
    if fill or len(stale) + len(folders) + len(wait_for) > FEW:
        return False
    if not all(os.path.lexists(os.path.join(cwd, path)) for path in wait_for):
        return False
    for path, _ in stale:
        if os.path.isdir(path) and not os.path.islink(path):
            return False
    make_ready(stale, folders, (), wait_s, (), tmpdir="")
    return True


def _remove(path: str, *, whole: bool) -> None:
    """As Snakemake removes an output: a folder only if it is empty, or one of `directory()`."""
    if os.path.isdir(path) and not os.path.islink(path):
        if whole:
            shutil.rmtree(path)
        else:
            with contextlib.suppress(OSError):
                os.rmdir(path)
    elif path != os.devnull:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _fill(path: str, tmpdir: str) -> None:
    template = template_of(path)
    if not os.path.exists(template):
        shutil.copyfile(path, template)
    with open(template, "rb") as file:
        text = file.read()
    with open(path, "wb") as file:  # keeps its mode
        file.write(text.replace(TMPDIR.encode(), os.fsencode(tmpdir)))


def _await(paths: Sequence[str], wait_s: float) -> None:
    until = time.monotonic() + wait_s
    while missing := [path for path in paths if not os.path.lexists(path)]:
        if time.monotonic() >= until:
            more = f" and {len(missing) - SHOWN_FILES} more" if len(missing) > SHOWN_FILES else ""
            raise TimeoutError(
                f"these files are not seen here after {wait_s:g} seconds (--latency-wait): "
                f"{', '.join(missing[:SHOWN_FILES])}{more}"
            )
        for folder in {os.path.dirname(path) for path in missing}:
            with contextlib.suppress(OSError):
                os.listdir(folder or os.curdir)  # has a network file system look again
        time.sleep(LOOK_EVERY_S)
