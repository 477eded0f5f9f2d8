"""Jobs of this run that an earlier one may have left, and what later runs have to know of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import resume_internals as internals

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..journal.journal import RunFolder
    from ..model.claim import Claim
    from ..model.request import Launch
    from .resume_internals import Earlier


class Resume:
    """What is resumed in a run."""

    def __init__(self, persistence: Any, folder: RunFolder) -> None:
        self._persistence = persistence
        self._folder = folder
        self._is_on = self._is_following = False
        self._unmarked: Mapping[str, tuple[str, str]] = {}
        self._earlier: dict[Any, Earlier] = {}

    def begin(self, *, is_following: bool, is_kept: bool, unmarked: Mapping[str, tuple[str, str]]) -> None:
        """Whether the run has a controller that an earlier one has left, and whether it leaves its own to later ones.

        `unmarked` are jobs without outputs that were left: their run and key by their rule.
        """
        self._is_on = is_following or is_kept
        self._is_following, self._unmarked = is_following, unmarked

    def look_for(self, job: Any) -> None:
        """Whether an earlier run has left the same job: it is at the attempt of that one then."""
        if not self._is_following:
            return
        found = internals.earlier(self._persistence, job)
        if found is None and not job.output and job.name in self._unmarked:
            found = internals.read_jobid(internals.external_jobid(*self._unmarked[job.name]))
        if found is not None and found.run != self._folder.name and found not in self._earlier.values():
            self._earlier[job] = found
            if found.attempt > job.attempt:
                job.attempt = found.attempt

    def key_of(self, job: Any) -> str | None:
        """That of the earlier job which this attempt is, if it is one."""
        found = self._of(job)
        return None if found is None else found.key

    def folder_of(self, job: Any) -> RunFolder:
        """That of the run in which this attempt has begun."""
        found = self._of(job)
        return self._folder if found is None else self._folder.sibling(found.run)

    def external_jobid(self, job: Any, key: str) -> str | None:
        """By what Snakemake is to mark the outputs of this attempt."""
        return internals.external_jobid(self.folder_of(job).name, key) if self._is_on else None

    def claim(self, job: Any, launch: Launch, scripts: Sequence[str]) -> Claim | None:
        """What the job is for other runs. `scripts` are files that were written for it."""
        return internals.claim(self._persistence, job, launch, scripts) if self._is_on else None

    def _of(self, job: Any) -> Earlier | None:
        found = self._earlier.get(job)
        return found if found is not None and found.attempt == job.attempt else None
