"""What the parse of a Snakefile depended on, so that a later job may use its result, or must not.

Covers files that Python opens, the sources of the workflow's own modules, paths that it stats, folders that it lists,
names of modules that it looks for, and connections and processes that it starts. Does not cover files that a C library
opens by itself. What of the result lies in the process is looked at by `process_state` and `inert_state`, what the
workflow's code asks of clocks and the like is heard by `parse_calls`.

In doubt, it says so, and the job runs without a parsed workflow.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import stat
import sys
from typing import TYPE_CHECKING, Any, TypeAlias

from .sources import INSTALLED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

Signature: TypeAlias = tuple[object, ...] | None

_DOUBTFUL_EVENTS = {
    "os.fork": "starts a process",
    "os.forkpty": "starts a process",
    "socket.connect": "opens a connection",
    "socket.getaddrinfo": "opens a connection",
    "sqlite3.connect": "opens a database",
}
_REMOVALS = {"os.remove": "removes", "os.rename": "moves"}

_REPEATABLE_PROGRAMS = frozenset(
    (
        *("git", "uname", "hostname", "which", "nproc", "lscpu", "getconf", "ldconfig", "conda", "mamba", "micromamba"),
        *("singularity", "apptainer", "gcc", "cc", "ld", "objdump", "file"),
    )
)
"""What these say is the same for each job of a run: about the machine, what is installed, the workflow's version."""

_SHELLS = frozenset(("sh", "bash", "dash", "zsh"))
_SHELL_SYNTAX = frozenset("|&;<>()$`\n*?[")

_SYSTEM = ("/proc/", "/sys/", "/dev/")
_SNAKEMAKES = ("/.snakemake/", "/snakemake/source-cache/", "/__pycache__/")
"""In paths that Snakemake and Python write by themselves."""

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class ParseRecord:
    """Records between `start` and `stop`; afterwards `doubt` and `change` answer."""

    def __init__(self) -> None:
        self._recording = False
        self._opened: set[str] = set()
        self._written: dict[str, Signature] = {}  # what was there before
        self._read_first: set[str] = set()  # of the written ones
        self._made: tuple[str, ...] = ()  # folders
        self._asked: dict[str, Signature] = {}
        self._listed: dict[str, Signature] = {}
        self._read: dict[str, Signature] = {}
        self._folders: dict[str, _Folder] = {}
        self._doubts: list[str] = []
        self._originals: dict[str, Callable[..., Any]] = {}

        # Not the method: Python looks for an attribute at each event, and raises an error where a method has none.
        def hear(event: str, arguments: tuple[Any, ...]) -> None:
            if self._recording:
                self._hear(event, arguments)

        sys.addaudithook(hear)  # can't be taken back

    def start(self) -> None:
        for name in ("stat", "lstat"):
            self._originals[name] = getattr(os, name)
            setattr(os, name, self._asking(self._originals[name]))
        self._recording = True

    def stop(self, sources: Iterable[str] = (), looked_for: Mapping[str, Iterable[str]] | None = None) -> None:
        """The parse is over: take the signatures of all that it used.

        `sources`: files of the workflow's own modules, which Python may have loaded from what it had compiled before.
        `looked_for`: by folder, the names of modules that Python has looked for in it.
        """
        self._recording = False
        for name, function in self._originals.items():
            setattr(os, name, function)
        self._opened.update(filter(None, map(_name, sources)))
        for path, before in self._written.items():
            # What each job would write again. A file without a name is opened by that of a folder.
            if path in self._read_first and before != _content(path) and not os.path.isdir(path):
                self._doubts.append(f"changes {path}, which it has read")
        for path in self._opened - self._written.keys():
            self._read[path] = _file(path)
        for path in self._opened & self._written.keys():
            self._read[path] = _content(path)
        for path in self._asked:
            self._asked[path] = self._presence(path)
        for path in self._listed:
            self._listed[path] = _listing(path)
        self._folders = {path: _Folder(path, names) for path, names in (looked_for or {}).items()}

    @property
    def doubt(self) -> str:
        """Why the result of the parse can't be used by other jobs; "" if it can."""
        return self._doubts[0] if self._doubts else ""

    def change(self) -> str:
        """What has changed since the parse, or ""."""
        for signature, known in ((self._contents, self._read), (self._presence, self._asked), (_listing, self._listed)):
            for path, before in known.items():
                if signature(path) != before:
                    return f"{path} has changed"
        for path, folder in self._folders.items():
            if folder.has_changed():
                return f"{path} has changed"
        return ""

    def add_doubt(self, doubt: str) -> None:
        self._doubts.append(doubt)

    def _contents(self, path: str) -> Signature:
        return _content(path) if path in self._written else _file(path)

    def _presence(self, path: str) -> Signature:
        """Whether a path is there and what it is. A folder's times change with every file in it: not these."""
        if path in self._written:
            return _content(path)
        try:
            found = os.stat(path)
        except OSError:
            return None
        return (True,) if stat.S_ISDIR(found.st_mode) else (found.st_size, found.st_mtime_ns)

    # -- while recording --------------------------------------------------------------------------------

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if name := _name(path):
                if not (isinstance(flags, int) and flags & _WRITES):
                    self._opened.add(name)
                elif not any(part in name for part in _SNAKEMAKES):
                    self._opens_to_write(name, flags)
        elif event in ("os.listdir", "os.scandir"):
            if (name := _name(arguments[0] if arguments[0] is not None else ".")) and not _for_an_import():
                self._listed[name] = None
        elif event == "os.mkdir":
            self._made += (f"{_name(arguments[0])}{os.sep}",)
        elif event in _REMOVALS:
            name = _name(arguments[0])
            if name and not self._is_passing(name):
                self._doubts.append(f"{_REMOVALS[event]} {name}")
        elif event in ("subprocess.Popen", "os.system", "os.posix_spawn"):
            if (program := _program(event, arguments)) not in _REPEATABLE_PROGRAMS:
                # It may read files and clocks: what it has answered once need not be what it answers a job.
                self._doubts.append(f"starts a process ({program})")
        elif event in _DOUBTFUL_EVENTS:
            self._doubts.append(_DOUBTFUL_EVENTS[event])

    def _is_passing(self, path: str) -> bool:
        """Whether a file has come with this parse, or is Snakemake's."""
        return path in self._written or path.startswith(self._made) or any(part in path for part in _SNAKEMAKES)

    def _opens_to_write(self, name: str, flags: int) -> None:
        """A file that is written anew is the same after each parse; one that goes on is not."""
        if name in self._written or os.path.isdir(name):
            return
        self._recording = False
        try:
            self._written[name] = _content(name)
        finally:
            self._recording = True
        if name in self._opened:
            self._read_first.add(name)
        goes_on = self._written[name] is not None and not flags & os.O_TRUNC
        if flags & os.O_APPEND or goes_on:
            self._doubts.append(f"appends to {name}" if flags & os.O_APPEND else f"changes {name}")

    def _asking(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def ask(path: Any, *arguments: Any, **options: Any) -> Any:
            if self._recording and (name := _name(path)):
                self._asked[name] = None
            return function(path, *arguments, **options)

        return ask


class _Folder:
    """A folder in which Python has looked for modules: whether one of these names comes or goes."""

    def __init__(self, path: str, modules: Iterable[str]) -> None:
        self._path = path
        self._modules = frozenset(modules)
        self._time = _time(path)
        self._found = self._find()

    def _find(self) -> frozenset[str]:
        names = map(str, _listing(self._path) or ())
        return frozenset(name for name in names if name.partition(".")[0] in self._modules)

    def has_changed(self) -> bool:
        if (now := _time(self._path)) == self._time:
            return False
        if self._find() != self._found:
            return True
        self._time = now
        return False


def _time(path: str) -> int | None:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return None


def _for_an_import() -> bool:
    """Whether Python lists a folder to look for a module: `parse_calls` hears for which."""
    frame = sys._getframe(3)  # beyond `_hear` and the hook
    return frame.f_code.co_filename.startswith("<frozen importlib")


def _program(event: str, arguments: tuple[Any, ...]) -> str:
    """The name of the program that is started, as an audit event tells of it; what a shell is given, if it is simple.

    >>> _program("os.system", (b"git describe --tags",))
    'git'
    >>> _program("subprocess.Popen", ("/bin/sh", ["/bin/sh", "-c", "git log | head"], None, None))
    'sh'
    """
    given = ["sh", "-c", arguments[0]] if event == "os.system" else arguments[1] or [arguments[0]]
    words: list[str] = [os.fsdecode(word) for word in ([given] if isinstance(given, (str, bytes)) else given)]
    name = os.path.basename(words[0])
    if name in _SHELLS and len(words) == 3 and words[1] == "-c" and not _SHELL_SYNTAX & set(words[2]):
        try:
            inner = shlex.split(words[2])
        except ValueError:
            return name
        return os.path.basename(inner[0]) if inner else name
    return name


def _name(path: Any) -> str:
    """The absolute path, or "" for what a parse can't depend on: descriptors, Python itself, /proc."""
    try:
        name = os.path.join(os.getcwd(), os.fsdecode(path))
    except (TypeError, OSError):
        return ""
    return "" if name.startswith((*INSTALLED, *_SYSTEM)) else name


def _file(path: str) -> Signature:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _content(path: str) -> Signature:
    """Of a file that a parse writes: it is new each time, and the same."""
    try:
        with open(path, "rb") as file:
            return (hashlib.file_digest(file, "sha256").digest(),)
    except OSError:
        return None


def _listing(path: str) -> Signature:
    try:
        return tuple(sorted(os.listdir(path)))
    except OSError:
        return None
