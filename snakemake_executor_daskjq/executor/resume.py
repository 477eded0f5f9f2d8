"""Jobs of this run that an earlier one may have left, and what later runs have to know of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import resume_internals as internals

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..journal.journal import RunFolder
    from ..model.claim import Claim, LeftJob
    from ..model.request import Launch


class Resume:
    """What is resumed in a run."""

    def __init__(self, persistence: Any, folder: RunFolder) -> None:
        self._persistence = persistence
        self._folder = folder
        self._is_on = False
        self._left: Mapping[str, LeftJob] = {}
        self._is_marked: Callable[[Any], bool] = lambda file: False
        self._earlier: dict[Any, LeftJob] = {}

    def begin(self, left: Mapping[str, LeftJob], is_marked: Callable[[Any], bool], *, is_on: bool) -> None:
        """The run begins, with jobs that others have `left`.

        `is_marked` tells whether Snakemake marks an output as incomplete, `is_on` whether later runs may follow.
        """
        self._left, self._is_marked, self._is_on = left, is_marked, is_on

    def look_for(self, job: Any) -> None:
        """Whether an earlier run has left the same job: it is at the attempt of that one then."""
        if not self._left:
            return
        found = next((self._left[name] for name in internals.names(self._persistence, job) if name in self._left), None)
        if found is None or found in self._earlier.values():
            return
        if found.has_ended and job.output and not any(map(self._is_marked, job.output)):
            return  # its Snakemake has lived to see that, and it is to run once more
        self._earlier[job] = found
        job.attempt = max(job.attempt, found.attempt)

    def key_of(self, job: Any) -> str | None:
        """That of the earlier job which this attempt is, if it is one."""
        found = self._of(job)
        return None if found is None else found.key

    def folder_of(self, job: Any) -> RunFolder:
        """That of the run in which this attempt has begun."""
        found = self._of(job)
        return self._folder if found is None else self._folder.sibling(found.run)

    def external_jobid(self, job: Any, key: str) -> str | None:
        """By what Snakemake is to mark the outputs of this attempt: its run's name and its key."""
        return f"daskjq/{self.folder_of(job).name}/{key}" if self._is_on else None

    def claim(self, job: Any, launch: Launch, scripts: Sequence[str]) -> Claim | None:
        """What the job is for other runs. `scripts` are files that were written for it."""
        return internals.claim(self._persistence, job, launch, scripts) if self._is_on else None

    def _of(self, job: Any) -> LeftJob | None:
        found = self._earlier.get(job)
        return found if found is not None and found.attempt == job.attempt else None
