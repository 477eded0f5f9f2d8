"""Which Python files are the workflow's own: Snakefiles, and modules that are not installed."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType, ModuleType

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep

INSTALLED = tuple(
    {
        *(sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        site.getusersitepackages() + os.sep,
        _OURS,
    }
)
_PACKAGES = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))


def is_installed(path: str) -> bool:
    """Whether a file belongs to Python or to what is installed for it."""
    return path.startswith(INSTALLED) or any(part in path for part in _PACKAGES)


class Sources:
    """Tells the workflow's own code from others': made before the parse, when none of it is loaded."""

    def __init__(self) -> None:
        # Snakemake, its plugins and their libraries may be installed in a way that leaves them elsewhere.
        self._others = {_source(module) for module in list(sys.modules.values())}
        self._known: dict[str, bool] = {}

    def own(self, path: str) -> bool:
        """Whether the file of some code is the workflow's."""
        known = self._known.get(path)
        if known is None:
            known = not path.startswith("<") and not is_installed(path) and path not in self._others
            self._known[path] = known
        return known

    def own_frame(self, frame: FrameType | None) -> bool:
        """Whether code of the workflow runs in a frame; what it has put together as text is its own, too."""
        while frame is not None and frame.f_code.co_filename.startswith("<"):
            frame = frame.f_back
        return frame is not None and self.own(frame.f_code.co_filename)

    def own_modules(self) -> dict[str, ModuleType]:
        """The workflow's own modules that are loaded."""
        found = {}
        for name, module in list(sys.modules.items()):
            if (path := _source(module)) and self.own(path):
                found[name] = module
        return found


def _source(module: object) -> str:
    # A module may be any object, and answer for attributes that it has not.
    path = getattr(module, "__dict__", {}).get("__file__")
    return path if isinstance(path, str) else ""
