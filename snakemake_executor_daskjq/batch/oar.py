"""OAR. Known from its manual pages: the tests check scripts and listings, none has run on one."""

from __future__ import annotations

from .base import BatchSystem, Listed, ListedState, column, columns_by_id, user

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
    name = "oar"
    job_class = "oar:OARJob"
    in_job = "OAR_JOB_ID"
    own_variables = ("OAR_",)

    def list_command(self) -> tuple[str, ...]:
        return ("oarstat", "-u", user())

    def parse_listing(self, listing: str) -> dict[str, Listed]:
        """
        >>> SYSTEM.parse_listing("Job id    State\\n--------- ------\\n77        W\\n")["77"].state
        <ListedState.QUEUED: 'queued'>
        """
        found = {}
        for batch_id, columns in columns_by_id(listing).items():
            word = column(columns, 1)
            state = _STATES.get(word, ListedState.RUNNING)
            found[batch_id] = Listed(state, word if state is ListedState.HELD else "")
        return found


SYSTEM = Oar()
