"""The folder in which a rule's job and its Dask workers on other pilots meet (`model.rendezvous`), and its end."""

from __future__ import annotations

import os


def is_over(folder: str) -> bool:
    """Whether the folder was removed; one that can't be looked at just now was not."""
    try:
        os.stat(folder)
    except FileNotFoundError:
        return True
    except OSError:
        pass
    return False
