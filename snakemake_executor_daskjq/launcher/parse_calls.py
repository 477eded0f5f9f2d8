"""Sees the workflow's own code ask for what differs between two parses: clocks, random numbers, temporary names.

`sys.setprofile` tells of each call while a Snakefile is parsed. Only what the workflow's own code asks for counts: a
library that measures its own time changes no result. A rule's body does not run in a parse, and is not heard.
Not heard is what a C extension asks for, and what is called through one (`map(next, clocks)`).
"""

from __future__ import annotations

import datetime
import importlib.machinery
import os
import random
import secrets
import sys
import tempfile
import threading
import time
import uuid
from types import BuiltinFunctionType, FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType

    from .sources import Sources

_CLOCKS: tuple[str, ...] = (
    *("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time", "strftime"),
    *("process_time_ns", "thread_time", "localtime", "gmtime", "ctime", "asctime", "clock_gettime"),
)
_OF_THE_PROCESS = ("getpid", "getppid", "urandom", "getrandom", "times", "getloadavg", "sched_getaffinity", "statvfs")
_BUILT_IN = {
    **{getattr(time, name): f"time.{name}()" for name in _CLOCKS if hasattr(time, name)},
    **{getattr(os, name): f"os.{name}()" for name in _OF_THE_PROCESS if hasattr(os, name)},
}
_BUILT_IN_NAMES = {function.__name__ for function in _BUILT_IN}
_DATES = frozenset(("now", "utcnow", "today"))

_PYTHON: dict[str, tuple[Any, ...]] = {
    "uuid": (uuid.uuid1, uuid.uuid4),
    "secrets": (secrets.token_bytes, secrets.token_hex, secrets.token_urlsafe, secrets.randbelow),
    "random": (random.SystemRandom.random, random.SystemRandom.getrandbits),
    "tempfile": (
        *(tempfile.mkstemp, tempfile.mkdtemp, tempfile.mktemp, tempfile.NamedTemporaryFile),
        *(tempfile.TemporaryDirectory.__init__, tempfile.gettempdir, tempfile.gettempdirb),
    ),
}
_READERS = frozenset(("read_parquet", "read_feather", "read_orc", "read_hdf"))
"""Functions of pandas that have files read by libraries which open them unseen."""


class ParseCalls:
    """Listens between `start` and `stop`; what it has heard is in the attributes.

    Attributes
    ----------
    doubts : what the workflow's own code has asked for.
    variables : the names of variables of the environment that it has read.
    assigned : those that anything has set or removed, also to what they were: the main process, whose environment comes
        to the pilots, may have parsed the Snakefile before.
    looked_for : for each folder of the workflow that Python has looked into, the names of modules it has looked for.
    """

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self.doubts: list[str] = []
        self.variables: set[str] = set()
        self.assigned: set[str] = set()
        self.looked_for: dict[str, set[str]] = {}
        self._called: dict[int, Callable[[FrameType], None]] = {}
        for module, functions in _PYTHON.items():
            for function in functions:
                self._called[id(_code(function))] = self._asks_for(module, function)
        self._called[id(_code(random.Random.__init__))] = self._makes_generator
        self._called[id(_code(type(os.environ).__getitem__))] = self._reads_variable
        for method in (type(os.environ).__setitem__, type(os.environ).__delitem__):
            self._called[id(_code(method))] = self._assigns_variable
        self._called[id(_code(importlib.machinery.FileFinder.find_spec))] = self._looks_for_module
        self._listener = self._listen()

    def start(self) -> None:
        threading.setprofile(self._listener)
        sys.setprofile(self._listener)

    def stop(self) -> None:
        if sys.getprofile() is not self._listener:
            self.doubts.append("has a profiler of its own")
        sys.setprofile(None)
        threading.setprofile(None)

    def _listen(self) -> Callable[[FrameType, str, Any], None]:
        """It is called for everything: what it needs is at hand."""
        called, built_in_names, dates, readers = self._called, _BUILT_IN_NAMES, _DATES, _READERS

        def hear(frame: FrameType, event: str, argument: Any) -> None:
            if event == "call":
                code = frame.f_code
                if id(code) in called:
                    called[id(code)](frame)
                elif code.co_name in readers:
                    self._reads_unseen(frame)
                elif "Timestamp" in code.co_names:
                    self._uses_timestamps(frame)
            elif event == "c_call":
                name = argument.__name__
                if name in built_in_names or name in dates:
                    self._calls_built_in(frame, argument)

        return hear

    def _calls_built_in(self, frame: FrameType, function: BuiltinFunctionType) -> None:
        what = _BUILT_IN.get(function)
        if what is None and function.__name__ in _DATES:
            of = function.__self__
            if isinstance(of, type) and issubclass(of, datetime.date):
                what = f"{of.__name__}.{function.__name__}()"
        if what is not None and self._sources.own_frame(frame):
            self._doubt(what)

    def _asks_for(self, module: str, function: Any) -> Callable[[FrameType], None]:
        name = function.__qualname__.removesuffix(".__init__")

        def ask(frame: FrameType) -> None:
            if self._sources.own_frame(frame.f_back):
                self._doubt(f"{module}.{name}()")

        return ask

    def _makes_generator(self, frame: FrameType) -> None:
        given = frame.f_locals
        if (
            given.get("x") is None
            and not isinstance(given["self"], random.SystemRandom)
            and self._sources.own_frame(frame.f_back)
        ):
            self._doubt("random.Random()")

    def _reads_variable(self, frame: FrameType) -> None:
        if self._sources.own_frame(_beyond_mappings(frame.f_back)):
            self.variables.add(str(frame.f_locals["key"]))

    def _assigns_variable(self, frame: FrameType) -> None:
        self.assigned.add(str(frame.f_locals["key"]))

    def _looks_for_module(self, frame: FrameType) -> None:
        folder = frame.f_locals["self"].path
        if isinstance(folder, str) and (folder in self.looked_for or self._sources.own(f"{folder}{os.sep}")):
            names = self.looked_for.setdefault(folder, set())
            names.add(frame.f_locals["fullname"].rpartition(".")[2])

    def _reads_unseen(self, frame: FrameType) -> None:
        name = frame.f_code.co_name
        if f"{os.sep}pandas{os.sep}" in frame.f_code.co_filename and self._sources.own_frame(frame.f_back):
            self.doubts.append(f"calls pandas.{name}(), which opens files unseen")

    def _uses_timestamps(self, frame: FrameType) -> None:
        """The methods of pandas' class are not heard: it is compiled."""
        if _DATES & set(frame.f_code.co_names) and self._sources.own_frame(frame):
            self._doubt("pandas.Timestamp.now()")

    def _doubt(self, what: str) -> None:
        self.doubts.append(f"calls {what}")


def _code(function: Any) -> CodeType:
    assert isinstance(function, FunctionType)
    return function.__code__


def _beyond_mappings(frame: FrameType | None) -> FrameType | None:
    """The frame that asks, through `os.environ.get`, `os.getenv` or the like."""
    while frame is not None and frame.f_code.co_filename in _MAPPINGS:
        frame = frame.f_back
    return frame


_MAPPINGS = frozenset((os.getenv.__code__.co_filename, _code(type(os.environ).get).co_filename))
