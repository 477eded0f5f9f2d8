"""Whether what a Snakefile has put into its names can be given to many forked jobs as if each had made it itself.

Plain data, functions, classes, modules, tables and arrays can: a fork copies them. What holds a place in a file, a
connection, a lock, a thread or a source of random numbers can't, for forks would share it, or all draw the same.
Objects are judged by their types, all that can be reached, through the references that the garbage collector knows.
An object of a class that is written in Python is what its attributes are. A type of a C extension that is not on the
lists here might hold anything: it can't be proven inert, and its name is the reason.
"""

from __future__ import annotations

import array
import collections.abc
import contextvars
import datetime
import decimal
import functools
import gc
import io
import operator
import random
import re
import socket
import sys
import time
import types
import weakref
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

MAX_OBJECTS = 2_000_000
MAX_S = 2.0
"""Beyond either, a state is not looked at any further, and can't be proven inert."""

Judgement: TypeAlias = "Callable[[Any], str | Iterable[Any]]"
"""Of an object: why it is not inert, or what to look at next."""

_PLAIN = frozenset(
    (
        *(type(None), bool, int, float, complex, str, bytes, bytearray, range, slice, type(...), type(NotImplemented)),
        *(datetime.datetime, datetime.date, datetime.time, datetime.timedelta, datetime.timezone, decimal.Decimal),
        *(re.Pattern, re.Match, types.ModuleType, types.CodeType, types.GenericAlias, types.UnionType, array.array),
        *(types.MethodDescriptorType, types.WrapperDescriptorType, types.GetSetDescriptorType, contextvars.ContextVar),
        *(types.MemberDescriptorType, types.ClassMethodDescriptorType, io.StringIO, io.BytesIO, object),
    )
)
"""Nothing behind them matters to a fork."""

_PANDAS = tuple(f"pandas.{name}" for name in ("Timestamp", "Timedelta", "Period", "Interval", "NaT", "NA"))

_PLAIN_NAMES = frozenset(
    (
        *(
            "zoneinfo.ZoneInfo",
            "_hashlib.HASH",
            "_md5.md5",
            "_sha1.sha1",
            "_struct.Struct",
            "numpy.dtype",
            "numpy.ufunc",
        ),
        *("numpy._ArrayFunctionDispatcher", "logging.Logger", "logging.RootLogger", "logging.LoggerAdapter"),
        *("random.SystemRandom", "_json.Scanner", "_json.Encoder", "_operator.itemgetter", "_operator.attrgetter"),
        *(
            "_operator.methodcaller",
            "threading.local",
            "_thread._local",
            "os._Environ",
            "_abc._abc_data",
            "_collections._tuplegetter",
            *_PANDAS,
        ),
    )
)

_PLAIN_MODULES = ("pandas._libs.", "pyarrow.lib", "typing", "numpy.dtypes")
"""Whole modules of such types: what pandas has in Cython (indexes, blocks, times), Arrow's immutable data."""

_NOT_PLAIN = ("pandas._libs.parsers.",)

_HOLDS = frozenset(
    (
        *(list, tuple, dict, set, frozenset, collections.deque, collections.OrderedDict, collections.defaultdict),
        *(types.MappingProxyType, types.SimpleNamespace, types.CellType, types.MethodType, property, staticmethod),
        *(classmethod, functools.partial, type({}.keys()), type({}.values()), type({}.items()), super),
    )
)
"""What the collector says that they refer to is all that there is to them."""

_HOLDS_NAMES = frozenset(("_csv.reader", "_csv.Dialect", "csv.DictReader", "xml.etree.ElementTree.Element"))
"""The readers go on in their file, which tells by itself."""

_BASES = frozenset((*_PLAIN, *_HOLDS, BaseException, type)) - {io.StringIO, io.BytesIO}
"""What a class that is written in Python may derive from."""

_REASONS = {
    "threading.Thread": "a thread",
    "threading.Condition": "a lock",
    "threading.Event": "a lock",
    "threading.Semaphore": "a lock",
    "threading.Barrier": "a lock",
    "_thread.lock": "a lock",
    "_thread.RLock": "a lock",
    "_multiprocessing.SemLock": "a lock",
    "multiprocessing.synchronize.SemLock": "a lock",
    "queue.Queue": "a queue",
    "_queue.SimpleQueue": "a queue",
    "multiprocessing.queues.Queue": "a queue",
    "multiprocessing.queues.SimpleQueue": "a queue",
    "concurrent.futures._base.Executor": "a pool",
    "concurrent.futures._base.Future": "a future",
    "multiprocessing.pool.Pool": "a pool",
    "multiprocessing.process.BaseProcess": "a process",
    "multiprocessing.connection._ConnectionBase": "a connection",
    "multiprocessing.managers.BaseManager": "a process",
    "subprocess.Popen": "a process",
    "sqlite3.Connection": "a connection",
    "_random.Random": "a random generator",
    "numpy.random._generator.Generator": "a random generator",
    "numpy.random.mtrand.RandomState": "a random generator",
    "numpy.random.bit_generator.BitGenerator": "a random generator",
    "numpy.random.bit_generator.SeedSequence": "a random generator",
    "_asyncio.Future": "a future",
    "mmap.mmap": "a mapped file",
}
"""By a class in an object's ancestry."""

_CLOSED = {"zipfile.ZipFile": "fp", "tarfile.TarFile": "fileobj"}
"""Archives: the attribute that is None, or closed, once they are."""

_STREAMS = ("stdin", "stdout", "stderr", "__stdin__", "__stdout__", "__stderr__")

_SNAKEMAKES = ("snakemake.", "snakemake_interface_", "snakemake_storage_", "snakemake_executor_")

_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE
_C_MEMBERS = (types.MethodDescriptorType, types.WrapperDescriptorType, types.ClassMethodDescriptorType)


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def is_written_in_python(kind: type) -> bool:
    """Whether instances of a class have no state beyond their attributes and what its bases have."""
    if not kind.__flags__ & _HEAP_TYPE:
        return False
    slots = 0
    for name, member in list(kind.__dict__.items()):
        if isinstance(member, _C_MEMBERS):
            if member.__objclass__ is kind:
                return False
        elif isinstance(member, types.GetSetDescriptorType):
            if member.__objclass__ is kind and name not in ("__dict__", "__weakref__"):
                return False
        elif isinstance(member, types.MemberDescriptorType):
            slots += member.__objclass__ is kind
        elif isinstance(member, types.BuiltinFunctionType) and name == "__new__" and member.__self__ is kind:
            return False
    base = kind.__base__
    own_bytes = kind.__basicsize__ - (base.__basicsize__ if base is not None else 0)
    return own_bytes <= 8 * (slots + 2)  # a dictionary, and weak references


class StateWalk:
    """Looks at all that can be reached from some names.

    `own`: whether the file of some code is the workflow's; what belongs to others holds nothing of a parse.
    `vanilla`: the names that any Snakefile has before its first line.
    """

    def __init__(self, own: Callable[[str], bool], vanilla: Mapping[str, object]) -> None:
        self._own = own
        self._vanilla = vanilla
        self._kinds: dict[type, Judgement | str | None] = {}
        self._seen: set[int] = set()
        self._kept: list[Any] = []  # what exists only while it is looked at: an address must not come twice
        own_generators: list[Any] = [random._inst]
        if mtrand := sys.modules.get("numpy.random.mtrand"):
            own_generators += [mtrand._rand, mtrand._rand._bit_generator]
        # The states of these are compared before and after a parse.
        self._inert = {id(one) for one in own_generators}
        self._inert |= {id(getattr(sys, name, None)) for name in _STREAMS}

    def reason(self, names: Mapping[str, object], prefix: str = "") -> str:
        """Why what these names hold is not inert: `keeps a lock (POOL)`; "" if it is."""
        ends = time.monotonic() + MAX_S
        for name, value in list(names.items()):
            if self._vanilla.get(name, self) is value:
                continue
            todo = [value]
            while todo:
                one = todo.pop()
                if id(one) in self._seen or id(one) in self._inert:
                    continue
                self._seen.add(id(one))
                if len(self._seen) % 1000 == 0 and (len(self._seen) > MAX_OBJECTS or time.monotonic() > ends):
                    return f"keeps more than can be looked at ({prefix}{name})"
                judged = self._judge(one)
                if isinstance(judged, str):
                    return f"keeps {judged} ({prefix}{name})"
                todo += judged
        return ""

    def _judge(self, one: Any) -> str | Iterable[Any]:
        kind = type(one)  # not `isinstance`, which asks proxies what they stand for
        try:
            judgement = self._kinds[kind]
        except KeyError:
            judgement = self._kinds[kind] = self._of_kind(kind)
        if judgement is None:
            return ()
        return judgement if isinstance(judgement, str) else judgement(one)

    def _of_kind(self, kind: type) -> Judgement | str | None:
        """How objects of a type are judged: all the same, or by looking at each; None if they are inert."""
        name = _name(kind)
        ancestry = [_name(base) for base in kind.__mro__]
        if kind in _PLAIN or name in _PLAIN_NAMES:
            return None
        if kind in _HOLDS or name in _HOLDS_NAMES:
            return self._contents
        if kind.__name__ == "cython_function_or_method":  # each library has a type of its own
            return self._bound
        for special, judgement in self._specials():
            if issubclass(kind, special):
                return judgement
        for base in ancestry:
            if base in _CLOSED:
                return functools.partial(_archive, _CLOSED[base], self)
            if base in _REASONS:
                return _REASONS[base]
            if base == "numpy.ndarray":
                return self._array
            if base in ("pandas.DataFrame", "pandas.core.frame.DataFrame"):
                return self._table
            if base in ("pandas.Series", "pandas.core.series.Series"):
                return self._column
            if base.startswith("pandas.") and base.endswith("ExtensionArray"):
                return self._extension_array
        if name.startswith(_SNAKEMAKES):
            return self._elements  # of its named lists; the rest is its own, and forked rightly
        if "numpy.generic" in ancestry or (name.startswith(_PLAIN_MODULES) and not name.startswith(_NOT_PLAIN)):
            return None
        if issubclass(kind, collections.abc.Iterator):
            return "a generator" if issubclass(kind, collections.abc.Generator) else "an iterator"
        if issubclass(kind, collections.abc.Awaitable):
            return "a coroutine"
        for parent in kind.__mro__:
            known = parent in _BASES or _name(parent).startswith(_PLAIN_MODULES)
            if not known and not is_written_in_python(parent):
                return f"an object of type {name.removeprefix('builtins.')}, which may hold anything"
        return self._contents

    def _specials(self) -> tuple[tuple[type, Judgement], ...]:
        return (
            (type, self._class),
            (types.FunctionType, self._function),
            (types.BuiltinFunctionType, self._bound),
            (functools._lru_cache_wrapper, lambda one: (one.__wrapped__,)),
            (functools.cached_property, lambda one: (one.func,)),
            (weakref.ref, lambda one: (one(),)),
            (BaseException, lambda one: (one.args, vars(one), one.__cause__, one.__context__)),
            (io.IOBase, lambda one: () if one.closed else "an open file"),
            (socket.socket, lambda one: () if one.fileno() == -1 else "a socket"),
            (operator.itemgetter, lambda one: ()),
        )

    def _contents(self, one: Any) -> Iterable[Any]:
        if not gc.is_tracked(one):
            return ()
        if type(one) in (list, tuple, set, frozenset):  # large ones: most are plain throughout
            return () if _PLAIN.issuperset(set(map(type, one))) else one
        return gc.get_referents(one)

    def _elements(self, one: Any) -> Iterable[Any]:
        return list(one) if isinstance(one, (list, tuple, set)) else list(one.values()) if isinstance(one, dict) else ()

    def _function(self, one: Any) -> Iterable[Any]:
        cells = [cell for cell in one.__closure__ or () if _is_filled(cell)]
        found = [cell.cell_contents for cell in cells]
        found += [one.__defaults__, one.__kwdefaults__, one.__dict__]
        names = one.__globals__
        if self._own(one.__code__.co_filename) and id(names) not in self._seen:
            self._seen.add(id(names))
            found += [value for name, value in list(names.items()) if self._vanilla.get(name, self) is not value]
        return found

    def _bound(self, one: Any) -> Iterable[Any]:
        return (getattr(one, "__self__", None),)

    def _class(self, one: Any) -> Iterable[Any]:
        """Those of others hold nothing of a parse."""
        module = sys.modules.get(one.__module__ or "")
        path = getattr(module, "__file__", None) or ""
        theirs = module is not None and not self._own(path)
        if theirs and vars(module).get(one.__qualname__.partition(".")[0]) is not None:
            return ()
        return [*one.__dict__.values(), *one.__bases__]

    def _keep(self, one: Any) -> Any:
        self._kept.append(one)
        return one

    def _array(self, one: Any) -> Iterable[Any]:
        if not one.dtype.hasobject:
            return ()
        return () if _PLAIN.issuperset(set(map(type, one.flat))) else self._keep(one.ravel().tolist())

    def _table(self, one: Any) -> Iterable[Any]:
        try:
            return [*(self._keep(block.values) for block in one._mgr.blocks), *one.axes, one.attrs]
        except AttributeError:  # other versions
            return [*(self._keep(values) for _, values in one.items()), one.attrs]

    def _column(self, one: Any) -> Iterable[Any]:
        return self._keep(one.array), self._keep(one.index), one.attrs

    def _extension_array(self, one: Any) -> Iterable[Any]:
        names = ("_ndarray", "_data", "_mask", "_codes", "_pa_array", "_left", "_right", "_sparse_values")
        return [*(getattr(one, name) for name in names if hasattr(one, name)), one.dtype]


def _archive(attribute: str, walk: StateWalk, one: Any) -> str | Iterable[Any]:
    file = getattr(one, attribute, None)
    return () if file is None or getattr(file, "closed", False) else "an open file"


def _is_filled(cell: types.CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True
