"""What every batch system is asked, with the answers that most of them give."""

from __future__ import annotations

import asyncio
import enum
import getpass
import os
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from . import commands

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ..model.pool import Pool

ASK_EVERY_S = 1.0
"""While the end of a batch job is waited for."""

BATCH_KEYS = frozenset({"queue", "account", "directives", "prologue", "config_name"})
"""The keys of a pool that every system with a queue takes, and no other."""

SPECIAL_KEYS = frozenset({"constraint", "nodes", "parallel_environment"})
"""The keys of a pool that some of them take."""


class ListedState(enum.StrEnum):
    """The state of a batch job that the system lists."""

    QUEUED = "queued"
    HELD = "held"  # it starts only once somebody releases it
    BROKEN = "broken"  # its start has failed, and nobody will try again
    RUNNING = "running"
    ENDING = "ending"  # told to end, or its end is being processed


@dataclass(frozen=True, slots=True)
class Listed:
    """A batch job that the system lists.

    Attributes
    ----------
    state : how it stands.
    words : why it waits, in the system's own words; "" where the system says nothing of it.
    """

    state: ListedState
    words: str = ""


class Cause(enum.StrEnum):
    """Whether a job may have been the reason for the end of its pilot's batch job."""

    UNKNOWN = "unknown"
    NO_FAULT = "no fault"  # walltime, cancelled, preempted, completed
    CRASH = "crash"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a batch job ended, in the system's words; "" where it says nothing."""

    words: str
    cause: Cause


UNKNOWN = Ended("", Cause.UNKNOWN)

_WITH_REASON = (ListedState.QUEUED, ListedState.BROKEN)
"""Why others wait, their state says."""


class BatchSystem:
    """A batch system. Without state: one object serves all runs.

    Attributes
    ----------
    name : as users name it.
    queues : pilots wait in a queue, and cost something.
    is_this_machine : pilots are processes of this machine.
    discovers : pools that say nothing of cores and memory are learned from the system (`discover`).
    keys : the keys of a pool that it takes beyond those of every system.
    job_class : the module of dask-jobqueue and its job class, `MODULE:CLASS`.
    job_id : regular expression with the group `job_id` for the answer to a submission. The first number of a site's
        greeting could be another job's. None for dask-jobqueue's own expression.
    account_option : what the job class calls an account.
    blanks_in_paths : a script's header can name a file with a blank in its path.
    cancel_kills : cancelling a running batch job is a SIGKILL at once.
    in_job : the variable that tells a process that it runs in a batch job of this system.
    own_variables, kept_variables : prefixes of the variables that describe such a job, and the names among them that
        configure the commands instead.
    core_variables : those that tell a batch job how many cores it has; the first one says it.
    has_records : `record` may know how a batch job ended.
    states, state_column : what the listing has for a state, by its word, and where it stands. Other words are those of
        running jobs.
    """

    name: ClassVar[str]
    queues: ClassVar[bool] = True
    is_this_machine: ClassVar[bool] = False
    discovers: ClassVar[bool] = False
    keys: ClassVar[frozenset[str]] = BATCH_KEYS
    job_class: ClassVar[str] = ""
    job_id: ClassVar[str | None] = None
    account_option: ClassVar[str] = "project"
    blanks_in_paths: ClassVar[bool] = True
    cancel_kills: ClassVar[bool] = False
    in_job: ClassVar[str] = ""
    own_variables: ClassVar[tuple[str, ...]] = ()
    kept_variables: ClassVar[tuple[str, ...]] = ()
    core_variables: ClassVar[tuple[str, ...]] = ()
    has_records: ClassVar[bool] = False
    states: ClassVar[Mapping[str, ListedState]] = {}
    state_column: ClassVar[int] = 1

    # -- what is submitted ---------------------------------------------------------------------------------

    def job_options(self, pool: Pool, excluded: Sequence[str], site: Mapping[str, Any]) -> dict[str, Any]:
        """Options of the dask-jobqueue job class that depend on the system.

        `excluded` are hosts that are to get no pilots, where the system can be told. `site` is the pool's section of
        dask-jobqueue's configuration; what is returned replaces what stands there.
        """
        options: dict[str, Any] = {}
        if directives := self.directives(pool, excluded):
            options["job_extra_directives"] = directives
        if prologue := [*self.prologue(), *pool.prologue]:
            options["job_script_prologue"] = prologue
        if pool.queue:
            options["queue"] = pool.queue
        if pool.account:
            options[self.account_option] = pool.account
        if pool.walltime_s is not None:
            options["walltime"] = self.walltime_text(pool.walltime_s)
        return options

    def directives(self, pool: Pool, excluded: Sequence[str]) -> list[str]:
        """Lines of the script's header that dask-jobqueue doesn't write. A directive of the user's own goes before."""
        return list(pool.directives)

    def prologue(self) -> list[str]:
        """Shell lines that come before the user's."""
        return []

    def walltime_text(self, walltime_s: int) -> str:
        """A walltime as the system reads it: hours may exceed a day.

        >>> BatchSystem().walltime_text(93605)
        '26:00:05'
        """
        return f"{walltime_s // 3600:02d}:{walltime_s % 3600 // 60:02d}:{walltime_s % 60:02d}"

    def shortfall(self, pool: Pool) -> str:
        """Why a pilot would get fewer cores than the pool says, as far as its options tell; "" for no reason."""
        return ""

    def discover(self, pool: Pool) -> list[Pool]:
        """The pools that the system offers, under all that `pool` says. Raises DiscoveryError."""
        raise NotImplementedError

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """`environ` for the system's commands, without what describes a batch job that this process may run in.

        Commands read such variables as options, and a submitted job may inherit them.

        >>> BatchSystem().environment({"A": "b"})
        {'A': 'b'}
        """
        if not self.is_inside(environ):
            return dict(environ)
        return {name: value for name, value in environ.items() if name in self.kept_variables or not self._is_own(name)}

    def _is_own(self, name: str) -> bool:
        return name.startswith(self.own_variables) or name in self.core_variables

    # -- inside a batch job ----------------------------------------------------------------------------------

    def is_inside(self, environ: Mapping[str, str]) -> bool:
        """True if a process with these variables runs in a batch job of this system."""
        return bool(self.in_job) and self.in_job in environ

    def granted_cores(self, environ: Mapping[str, str]) -> int | None:
        """Cores that the batch job has on this host, None where nothing is said."""
        granted = [whole(environ.get(name)) for name in self.core_variables[:1]]
        return granted[0] if granted else None

    def granted_mem_mb(self, environ: Mapping[str, str]) -> int | None:
        """Memory that the batch job has on this host in MB, rounded down; None where nothing is said."""
        return None

    # -- what becomes of it ----------------------------------------------------------------------------------

    async def listed(self, batch_ids: Collection[str]) -> dict[str, Listed] | None:
        """This user's batch jobs by id, with reasons for those of `batch_ids`; None where there was no answer."""
        env = self.own_environment()
        listing = await commands.output(self.list_command(), env=env)
        if listing is None:
            return None
        found = self.parse_listing(listing)
        waiting = [one for one in batch_ids if one in found and found[one].state in _WITH_REASON]
        if waiting and (command := self.reasons_command(waiting)):
            reasons = self.parse_reasons(await commands.output(command, env=env) or "")
            found |= {one: replace(found[one], words=reasons[one]) for one in waiting if reasons.get(one)}
        return found

    def list_command(self) -> tuple[str, ...]:
        """The command that lists this user's jobs (from its manual page)."""
        raise NotImplementedError

    def parse_listing(self, listing: str) -> dict[str, Listed]:
        """What it printed. Lines that are no job (headers, rules, messages) are passed over."""
        found = {}
        for batch_id, columns in columns_by_id(listing).items():
            word = column(columns, self.state_column)
            state = self.state(word)
            found[number(batch_id)] = Listed(state, word if state in (ListedState.HELD, ListedState.BROKEN) else "")
        return found

    def state(self, word: str) -> ListedState:
        """What a word of the listing means."""
        return self.states.get(word, ListedState.RUNNING)

    def reasons_command(self, batch_ids: Sequence[str]) -> tuple[str, ...]:
        """The command that tells why these jobs wait, where the listing doesn't; none by default."""
        return ()

    def parse_reasons(self, answer: str) -> dict[str, str]:
        """What it said, by id."""
        return {}

    async def record(self, batch_id: str) -> Ended | None:
        """The system's own record of how a batch job ended, None while there is none."""
        return None

    async def how_ended(self, batch_id: str, patience_s: float) -> Ended:
        """How a batch job ended; `UNKNOWN` where the system does not say within `patience_s`."""
        until = time.monotonic() + patience_s
        while self.has_records:
            if (ended := await self.record(batch_id)) is not None:
                return ended
            if time.monotonic() + ASK_EVERY_S > until:
                break
            await asyncio.sleep(ASK_EVERY_S)
        return UNKNOWN

    async def until_gone(self, batch_id: str, patience_s: float) -> bool:
        """Wait until the system no longer lists the batch job; False if it still does after `patience_s`."""
        until = time.monotonic() + patience_s
        while True:
            listed = await self.listed(())
            if listed is not None and batch_id not in listed:
                return True
            if time.monotonic() + ASK_EVERY_S > until:
                return False
            await asyncio.sleep(ASK_EVERY_S)

    def own_environment(self) -> dict[str, str]:
        """What this process' commands of the system run with."""
        return self.environment(os.environ)


def number(batch_id: str) -> str:
    """An id without its server's name.

    >>> number("12.host1"), number("12")
    ('12', '12')
    """
    return batch_id.partition(".")[0]


def columns_by_id(listing: str, separator: str | None = None) -> dict[str, list[str]]:
    """The columns of each line of a listing that is a job, by its id: one that starts with a digit.

    >>> columns_by_id("job-ID prior state\\n------\\n 12 0.5 qw\\n")
    {'12': ['12', '0.5', 'qw']}
    """
    found = {}
    for line in listing.splitlines():
        columns = [column.strip() for column in line.split(separator)]
        if columns and columns[0][:1].isdecimal():
            found[columns[0]] = columns
    return found


def column(columns: Sequence[str], index: int) -> str:
    """A column, "" where the line is shorter."""
    return columns[index] if len(columns) > index else ""


def whole(text: str | None) -> int | None:
    """A whole number from 1, None for anything else.

    >>> whole("4"), whole("0"), whole("many"), whole("²"), whole(None)
    (4, None, None, None, None)
    """
    return int(text) or None if text and text.isdecimal() and text.isascii() else None


def mentions(directives: Collection[str], *words: str) -> bool:
    """True if a directive has one of the words in it.

    >>> mentions(["-pe smp 2"], "-pe "), mentions(["-l h_vmem=4G"], "-pe ")
    (True, False)
    """
    return any(word in f"{line} " for line in directives for word in words)


def user() -> str:
    return getpass.getuser()
