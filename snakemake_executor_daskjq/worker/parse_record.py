"""What the parse of a Snakefile depended on, so that a later job may use its result, or must not.

Covers files that Python opens, paths that it stats, folders that it lists, processes and connections that
it starts, the random state, and sources that ask for the time, for randomness or for the command line. Does
not cover files that a C library opens by itself, and clocks that an installed library reads unasked.

In doubt, it says so, and the job runs without a parsed workflow.
"""

from __future__ import annotations

import os
import random
import re
import stat
import sys
import sysconfig
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

Signature: TypeAlias = tuple[object, ...] | None

_DOUBTFUL_EVENTS = {
    "subprocess.Popen": "starts a process",
    "os.system": "starts a process",
    "os.posix_spawn": "starts a process",
    "os.fork": "starts a process",
    "socket.connect": "opens a connection",
    "socket.getaddrinfo": "opens a connection",
    "sqlite3.connect": "opens a database",
}

# In the sources of the workflow. It also matches within rules, which costs speed there but never a result.
_DOUBTFUL_SOURCE = re.compile(
    rb"\b(now|today|utcnow|time|time_ns|localtime|gmtime|ctime|strftime|monotonic|perf_counter|random|randint|choice"
    rb"|choices|sample|shuffle|urandom|uuid1|uuid4|token_hex|token_bytes|token_urlsafe|getpid|getppid"
    rb"|mkdtemp|mkstemp|mktemp|TemporaryDirectory|NamedTemporaryFile)\s*\("
    rb"|\bsys\s*\.\s*argv\b"
    # They open files where Python does not hear of it.
    rb"|\b(polars|pyarrow|h5py|netCDF4|duckdb|pysam|rasterio|rpy2|read_parquet|read_feather|read_orc|read_hdf)\b"
)
_SOURCES = (".smk", ".py", ".snakefile", "")
_LARGEST_SOURCE = 2**20

_INSTALLED = tuple({sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")})
_SYSTEM = ("/proc/", "/sys/", "/dev/")
_SNAKEMAKES = ("/.snakemake/", "/snakemake/source-cache/", "/__pycache__/")
"""In paths that Snakemake and Python write by themselves."""


class ParseRecord:
    """Records between `start` and `stop`; afterwards `doubt` and `change` answer."""

    def __init__(self) -> None:
        self._recording = False
        self._opened: set[str] = set()
        self._written: set[str] = set()
        self._asked: dict[str, Signature] = {}
        self._listed: dict[str, Signature] = {}
        self._read: dict[str, Signature] = {}
        self._doubts: list[str] = []
        self._random_state: object = None
        self._originals: dict[str, Callable[..., Any]] = {}

        # Not the method: Python looks for an attribute at each event, and raises an error where a method has none.
        def hear(event: str, arguments: tuple[Any, ...]) -> None:
            if self._recording:
                self._hear(event, arguments)

        sys.addaudithook(hear)  # can't be taken back

    def start(self) -> None:
        self._random_state = random.getstate()
        for name in ("stat", "lstat"):
            self._originals[name] = getattr(os, name)
            setattr(os, name, self._asking(self._originals[name]))
        self._recording = True

    def stop(self) -> None:
        """The parse is over: take the signatures of all that it used."""
        self._recording = False
        for name, function in self._originals.items():
            setattr(os, name, function)
        if random.getstate() != self._random_state:
            self._doubts.append("uses random numbers")
        # Each cold job writes them again. A file without a name is opened by that of a folder.
        self._doubts += [f"writes {path}" for path in sorted(self._written) if not os.path.isdir(path)]
        for path in self._opened:
            self._read[path] = _file(path)
            self._scan(path)
        for path in self._asked:
            self._asked[path] = _presence(path)
        for path in self._listed:
            self._listed[path] = _listing(path)

    @property
    def doubt(self) -> str:
        """Why the result of the parse can't be used by other jobs; "" if it can."""
        return self._doubts[0] if self._doubts else ""

    def change(self) -> str:
        """What has changed since the parse, or ""."""
        for signature, known in ((_file, self._read), (_presence, self._asked), (_listing, self._listed)):
            for path, before in known.items():
                if signature(path) != before:
                    return f"{path} has changed"
        return ""

    def add_doubt(self, doubt: str) -> None:
        self._doubts.append(doubt)

    # -- while recording --------------------------------------------------------------------------------

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if name := _name(path):
                if not writes:
                    self._opened.add(name)
                elif not any(part in name for part in _SNAKEMAKES):
                    self._written.add(name)
        elif event in ("os.listdir", "os.scandir"):
            if name := _name(arguments[0] if arguments[0] is not None else "."):
                self._listed[name] = None
        elif event in _DOUBTFUL_EVENTS:
            self._doubts.append(_DOUBTFUL_EVENTS[event])

    def _asking(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def ask(path: Any, *arguments: Any, **options: Any) -> Any:
            if self._recording and (name := _name(path)):
                self._asked[name] = None
            return function(path, *arguments, **options)

        return ask

    def _scan(self, path: str) -> None:
        """Doubt sources that ask for what no file tells."""
        if os.path.splitext(path)[1] not in _SOURCES:
            return
        try:
            with open(path, "rb") as file:
                text = file.read(_LARGEST_SOURCE)
        except OSError:
            return
        if found := _DOUBTFUL_SOURCE.search(text):
            self._doubts.append(f"{os.path.basename(path)} has {found.group().decode().strip()!r}")


def _name(path: Any) -> str:
    """The absolute path, or "" for what a parse can't depend on: descriptors, Python itself, /proc."""
    try:
        name = os.path.join(os.getcwd(), os.fsdecode(path))
    except (TypeError, OSError):
        return ""
    return "" if name.startswith((*_INSTALLED, *_SYSTEM)) else name


def _file(path: str) -> Signature:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _presence(path: str) -> Signature:
    """Whether a path is there and what it is. A folder's times change with every file in it: not these."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (True,) if stat.S_ISDIR(found.st_mode) else (found.st_size, found.st_mtime_ns)


def _listing(path: str) -> Signature:
    try:
        return tuple(sorted(os.listdir(path)))
    except OSError:
        return None
