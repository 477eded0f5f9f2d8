"""The options, as Snakemake reads them: before it looks at what is to be done, which is when a run may be resumed."""

from __future__ import annotations

from pathlib import Path

from ..config import settings


class ExecutorSettings(settings.ExecutorSettings):
    """See `config.settings`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        from .resume_internals import let_resume

        let_resume(lambda: Path.cwd() / (self.log_folder or settings.LOG_FOLDER) / "runs")
