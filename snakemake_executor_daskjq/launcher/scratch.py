"""Folders for jobs' temporary files: private, and removed with whatever a job leaves in them."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from itertools import count

from ..model.outcome import PILOT_ENDS


class Scratch:
    """A private folder (0700) for the pilot's jobs, made when it is needed first; one folder in it for each.

    A folder that its job left as it found it serves the next job: to make and to remove one costs the file
    system more than all else that a pilot does for a short job.
    """

    def __init__(self, parent: str | None) -> None:
        self._parent = parent
        self._root = ""
        self._serial = count(1)
        self._untouched: list[str] = []
        self._closed = False

    def create(self) -> str:
        """An empty folder. Raises OSError, also once all is removed."""
        if self._closed:
            raise OSError(PILOT_ENDS)
        if self._untouched and os.path.isdir(self._untouched[-1]):
            return self._untouched.pop()
        path = f"{self.root()}/{next(self._serial)}"
        os.mkdir(path, 0o700)
        return path

    def root(self) -> str:
        """The private folder. Raises OSError where it can't be made."""
        if not os.path.isdir(self._root):  # not made yet, or removed by somebody who cleans up
            self._untouched.clear()
            if self._parent is not None:
                os.makedirs(self._parent, exist_ok=True)
            self._root = tempfile.mkdtemp(prefix="daskjq-", dir=self._parent)
        return self._root

    def take_back(self, path: str) -> bool:
        """Keep a folder that its job left untouched; False where it has to be removed (`remove_tree`)."""
        try:
            untouched = os.lstat(path).st_mode == stat.S_IFDIR | 0o700 and not os.listdir(path)
        except OSError:
            return False
        if untouched:
            self._untouched.append(path)
        return untouched

    def close(self) -> None:
        """Remove all of it, and make nothing any more."""
        self._closed = True
        if self._root:
            remove_tree(self._root)


def remove_tree(path: str) -> None:
    """Remove a folder with all that is in it, also folders that were made read-only; follows no symbolic link.

    What can't be removed stays: it must not fail a job that has succeeded.
    """
    if os.path.islink(path):
        with contextlib.suppress(OSError):
            os.unlink(path)
        return
    shutil.rmtree(path, ignore_errors=True)
    if os.path.lexists(path):
        for folder, names, _ in os.walk(path):  # lists a folder only after it was made readable here
            for name in names:
                inner = os.path.join(folder, name)
                with contextlib.suppress(OSError):
                    if stat.S_ISDIR(os.lstat(inner).st_mode):
                        os.chmod(inner, 0o700)
        shutil.rmtree(path, ignore_errors=True)
