"""The options, as Snakemake reads them: before it looks at what is to be done, which is when a run may be resumed."""

from __future__ import annotations

import contextlib
from pathlib import Path

from ..config import settings
from ..errors import DaskjqError


class ExecutorSettings(settings.ExecutorSettings):
    """See `config.settings`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        from .resume_internals import let_resume

        let_resume(self._folders)

    def _folders(self) -> tuple[Path, Path]:
        """Where a controller may be that knows of jobs, and the log folder of these."""
        from ..controller import names

        base = Path.cwd() / (self.log_folder or settings.LOG_FOLDER)
        with contextlib.suppress(DaskjqError):  # the executor tells
            if self.controller is not None:
                return names.folder_of(self.controller) / "runs", base
        return base / "runs", base
