"""LSF. Known from its manual pages: the tests check scripts and listings, none has run on one."""

from __future__ import annotations

from .base import BatchSystem, ListedState

_STATES = {
    "PEND": ListedState.QUEUED,
    "WAIT": ListedState.QUEUED,
    "PSUSP": ListedState.HELD,
    "DONE": ListedState.ENDING,
    "EXIT": ListedState.ENDING,
}


class Lsf(BatchSystem):
    """
    >>> SYSTEM.parse_listing("101 PEND\\n102 PSUSP\\n")["102"]
    Listed(state=<ListedState.HELD: 'held'>, words='PSUSP')
    """

    name = "lsf"
    job_class = "lsf:LSFJob"
    job_id = r"Job <(?P<job_id>\d+)>"
    blanks_in_paths = False
    in_job = "LSB_JOBID"
    own_variables = ("LSB_", "LS_JOBPID", "LS_SUBCWD", "LSFUSER")
    kept_variables = ("LSB_DEFAULTQUEUE", "LSB_DEFAULTPROJECT")
    core_variables = ("LSB_DJOB_NUMPROC", "LSB_MAX_NUM_PROCESSORS")
    states = _STATES

    def walltime_text(self, walltime_s: int) -> str:
        """LSF knows no seconds.

        >>> SYSTEM.walltime_text(3601)
        '1:01'
        """
        minutes = -(-walltime_s // 60)
        return f"{minutes // 60}:{minutes % 60:02d}"

    def list_command(self) -> tuple[str, ...]:
        return ("bjobs", "-noheader", "-o", "jobid stat")


SYSTEM = Lsf()
