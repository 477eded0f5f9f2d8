"""Moab. Known from its manual pages: the tests check scripts and listings, none has run on one."""

from __future__ import annotations

from .base import BatchSystem, Listed, ListedState, column, columns_by_id, user

_STATES = {
    "Idle": ListedState.QUEUED,
    "Deferred": ListedState.QUEUED,
    "BatchHold": ListedState.HELD,
    "Hold": ListedState.HELD,
    "SystemHold": ListedState.HELD,
    "UserHold": ListedState.HELD,
    "Canceling": ListedState.ENDING,
    "Completed": ListedState.ENDING,
}


class Moab(BatchSystem):
    name = "moab"
    job_class = "moab:MoabJob"
    account_option = "account"
    blanks_in_paths = False
    in_job = "MOAB_JOBID"
    own_variables = ("MOAB_", "PBS_O_", "PBS_JOB", "PBS_NODE")

    def list_command(self) -> tuple[str, ...]:
        return ("showq", "-u", user())

    def parse_listing(self, listing: str) -> dict[str, Listed]:
        """
        >>> SYSTEM.parse_listing("JOBID  USERNAME  STATE\\n55     me        UserHold\\n")["55"].state
        <ListedState.HELD: 'held'>
        """
        found = {}
        for batch_id, columns in columns_by_id(listing).items():
            word = column(columns, 2)
            state = _STATES.get(word, ListedState.RUNNING)
            found[batch_id.partition(".")[0]] = Listed(state, word if state is ListedState.HELD else "")
        return found


SYSTEM = Moab()
