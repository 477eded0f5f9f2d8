"""Moab. Known from its manual pages: the tests check scripts and listings, none has run on one."""

from __future__ import annotations

from .base import BatchSystem, ListedState, user

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
    """
    >>> SYSTEM.parse_listing("JOBID  USERNAME  STATE\\n55     me        UserHold\\n")["55"].state
    <ListedState.HELD: 'held'>
    """

    name = "moab"
    job_class = "moab:MoabJob"
    account_option = "account"
    blanks_in_paths = False
    in_job = "MOAB_JOBID"
    own_variables = ("MOAB_", "PBS_O_", "PBS_JOB", "PBS_NODE")
    states = _STATES
    state_column = 2

    def list_command(self) -> tuple[str, ...]:
        return ("showq", "-u", user())


SYSTEM = Moab()
