"""Folders for jobs' temporary files: private, and removed with whatever a job leaves in them."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from itertools import count


class Scratch:
    """A private folder (0700) for the pilot's jobs, made when the first one comes; one folder in it for each."""

    def __init__(self, parent: str | None) -> None:
        self._parent = parent
        self._root = ""
        self._serial = count(1)

    def create(self) -> str:
        """A new folder. Raises OSError."""
        if not self._root:
            if self._parent is not None:
                os.makedirs(self._parent, exist_ok=True)
            self._root = tempfile.mkdtemp(prefix="daskjq-", dir=self._parent)
        path = f"{self._root}/{next(self._serial)}"
        os.mkdir(path, 0o700)
        return path

    def remove(self, path: str) -> bool:
        """Remove a job's folder if it is empty, which takes no time; False where `remove_tree` has to."""
        try:
            os.rmdir(path)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Remove all of it."""
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
