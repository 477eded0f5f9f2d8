"""OAR. Known from its manual pages: the tests check scripts and listings, none has run on one."""

from __future__ import annotations

from .base import BatchSystem, ListedState, user

_STATES = {
    "W": ListedState.QUEUED,
    "Waiting": ListedState.QUEUED,
    "L": ListedState.QUEUED,
    "toLaunch": ListedState.QUEUED,
    "H": ListedState.HELD,
    "Hold": ListedState.HELD,
    "F": ListedState.ENDING,
    "Finishing": ListedState.ENDING,
}


class Oar(BatchSystem):
    """
    >>> SYSTEM.parse_listing("Job id    State\\n--------- ------\\n77        W\\n")["77"].state
    <ListedState.QUEUED: 'queued'>
    """

    name = "oar"
    job_class = "oar:OARJob"
    in_job = "OAR_JOB_ID"
    own_variables = ("OAR_",)
    states = _STATES

    def list_command(self) -> tuple[str, ...]:
        return ("oarstat", "-u", user())


SYSTEM = Oar()
