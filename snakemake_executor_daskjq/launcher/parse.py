"""A parse of a Snakefile that may serve many jobs: all that is recorded of it, and what speaks against that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import processes
from .inert_state import StateWalk
from .parse_calls import ParseCalls
from .parse_record import ParseRecord
from .process_state import ProcessState, import_random_numbers, wait_for_library_threads
from .sources import Sources

if TYPE_CHECKING:
    from .snakemake_internals import ParsedWorkflow


class Parse:
    """Between `start` and `judge`, a Snakefile is parsed."""

    def __init__(self) -> None:
        self._record = ParseRecord()
        self._sources = Sources()
        self._calls = ParseCalls(self._sources)
        self._assigned: set[str] = set()

    def add_doubt(self, doubt: str) -> None:
        self._record.add_doubt(doubt)

    def start(self) -> None:
        import_random_numbers()
        wait_for_library_threads()
        self._before = ProcessState()
        self._record.start()
        self._calls.start()

    def judge(self, workflow: ParsedWorkflow) -> str:
        """The parse is over: why no other job may use it, or ""."""
        self._calls.stop()
        modules = self._sources.own_modules()
        self._record.stop((str(module.__file__) for module in modules.values()), self._calls.looked_for)
        wait_for_library_threads()
        after = ProcessState()
        self._assigned = self._calls.assigned | self._before.assigned_variables(after)
        for doubt in (*self._calls.doubts, *self._before.doubts_after(after, workflow.descriptors)):
            self._record.add_doubt(doubt)
        if processes.has_threads():
            self._record.add_doubt("starts threads")
        if workflow.uses_storage:
            self._record.add_doubt("uses storage providers")
        if not self._record.doubt and (reason := self._reason(workflow, modules)):
            self._record.add_doubt(reason)
        return self._record.doubt

    def _reason(self, workflow: ParsedWorkflow, modules: dict[str, Any]) -> str:
        vanilla, namespaces, rules = workflow.state()
        walk = StateWalk(self._sources.own, vanilla)
        parts = [(names, "") for names in namespaces]
        parts += [(vars(module), f"{name}.") for name, module in modules.items()]
        return next((reason for names, prefix in [*parts, (rules, "")] if (reason := walk.reason(names, prefix))), "")

    def change(self) -> str:
        """What the parse depended on and has changed since, or ""."""
        return self._record.change()

    def conflict(self, own: set[str]) -> str:
        """Why it can't be used by jobs that have values of their `own` for these variables of the environment."""
        for name in sorted(own):
            if name in self._assigned or name in self._calls.variables:
                verb = "sets" if name in self._assigned else "reads"
                return f"{verb} {name}, which each job has its own of"
        return ""

    @property
    def assigned(self) -> set[str]:
        """The variables that the Snakefile has set: its values are later than those that a job is started with."""
        return self._assigned
