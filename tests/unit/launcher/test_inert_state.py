"""Which objects a fork may have as they are, and which must not be shared or drawn from twice."""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import csv
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import gzip
import io
import itertools
import logging
import multiprocessing.pool
import operator
import pathlib
import queue
import random
import re
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import types
import uuid
import weakref
import zipfile
import zoneinfo
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version
from snakemake.rules import Params as Namedlist

from snakemake_executor_daskjq.launcher.inert_state import StateWalk, is_written_in_python


def reason(value: object, vanilla: dict[str, object] | None = None) -> str:
    return StateWalk(lambda path: path == __file__, vanilla or globals()).reason({"NAME": value})


@dataclasses.dataclass
class Point:
    x: object
    y: object = None


class Slotted:
    __slots__ = ("held",)

    def __init__(self, held: object) -> None:
        self.held = held


class Pair(NamedTuple):
    a: object
    b: object


class Kind(enum.Enum):
    ONE = 1


class OwnList(list):  # type: ignore[type-arg]
    pass


class OwnError(Exception):
    pass


class Shared:
    pool: list[object] = []  # noqa: RUF012 - as people write it


@functools.lru_cache
def cached(x: int) -> int:
    return x


@functools.singledispatch
def dispatched(x: object) -> str:
    return str(x)


class Lazy:
    @functools.cached_property
    def value(self) -> int:
        return 1


def closure(held: object) -> Callable[[], object]:
    return lambda: held


def default(held: object) -> Callable[[], object]:
    def function(x: object = held) -> object:
        return x

    return function


def closed(file: Any) -> Any:
    file.close()
    return file


def read_table() -> Any:
    with open(__file__, newline="") as file:
        reader = csv.DictReader(file)
        list(reader)
    return reader


def caught() -> Exception:
    try:
        raise OwnError("a", [1])
    except OwnError as error:
        return error


PLAIN = (
    *(None, True, 1, 1.5, 1j, "text", b"bytes", bytearray(b"x"), range(3), slice(1), ..., NotImplemented, object()),
    *(pathlib.Path("x"), datetime.datetime(2020, 1, 1), datetime.timedelta(1), zoneinfo.ZoneInfo("UTC")),
    *(
        decimal.Decimal("1.5"),
        fractions.Fraction(1, 3),
        Kind.ONE,
        re.compile("a"),
        re.match("a", "a"),
        uuid.UUID(int=1),
    ),
    *(Point(1, Point([2])), Slotted({1}), Pair(1, [2]), OwnList([1]), Version("1.2"), Lazy(), Shared, Shared(), Point),
    *(
        [1, {"a": (2, {3})}],
        frozenset((1,)),
        collections.deque([1]),
        collections.Counter("ab"),
        {}.keys(),
        {1: 2}.items(),
    ),
    *(collections.defaultdict(list, a=[1]), collections.OrderedDict(a=1), collections.ChainMap({"a": 1})),
    *(types.SimpleNamespace(a=[1]), argparse.Namespace(a=1), types.MappingProxyType({"a": 1}), Namedlist(["a"])),
    *(len, [].append, "a".join, str.upper, operator.itemgetter(1), functools.partial(max, 1), cached, dispatched),
    *(closure([1]), default({"a": 1}), closed, Point.__init__, Point(1).__eq__, sys, logging.getLogger("x")),
    *(io.StringIO("x"), io.BytesIO(b"x"), sys.stderr, random.random, random.SystemRandom(), caught(), read_table()),
    *(
        subprocess.CompletedProcess([], 0),
        property(closed),
        staticmethod(closed),
        list[int],
        int | None,
        Callable[[int], str],
    ),
    *(collections.UserDict(a=1), weakref.ref(cached), weakref.WeakValueDictionary(), threading.local),
)


@pytest.mark.parametrize("value", PLAIN, ids=lambda value: type(value).__name__)
def test_what_a_fork_copies_is_inert(value: object) -> None:
    assert reason(value) == ""


def generator() -> Iterator[int]:
    yield 1


async def coroutine() -> None:
    pass


# How it is made, and what it is called.
NOT_INERT: dict[str, tuple[Callable[[], Any], str]] = {
    "file": (lambda: open(__file__), "an open file"),  # noqa: SIM115
    "gzip": (lambda: gzip.GzipFile(fileobj=io.BytesIO(), mode="w"), "an open file"),
    "temporary file": (tempfile.TemporaryFile, "an open file"),
    "zip": (lambda: zipfile.ZipFile(tempfile.TemporaryFile(), "w"), "an open file"),  # noqa: SIM115
    "reader": (lambda: csv.reader(open(__file__)), "an open file"),  # noqa: SIM115
    "socket": (socket.socket, "a socket"),
    "database": (lambda: sqlite3.connect(":memory:"), "a connection"),
    "random": (random.Random, "a random generator"),
    "bound": (lambda: random.Random().random, "a random generator"),
    "list iterator": (lambda: iter([1]), "an iterator"),
    "zip iterator": (lambda: zip("ab", "cd", strict=True), "an iterator"),
    "count": (itertools.count, "an iterator"),
    "generator": (generator, "a generator"),
    "lock": (threading.Lock, "a lock"),
    "rlock": (threading.RLock, "a lock"),
    "event": (threading.Event, "a lock"),
    "condition": (threading.Condition, "a lock"),
    "semaphore": (lambda: threading.BoundedSemaphore(2), "a lock"),
    "shared lock": (multiprocessing.get_context("spawn").Lock, "a lock"),
    "queue": (queue.Queue, "a queue"),
    "simple queue": (queue.SimpleQueue, "a queue"),
    "thread": (threading.Thread, "a thread"),
    "thread pool": (lambda: concurrent.futures.ThreadPoolExecutor(1), "a pool"),
    "process pool": (lambda: concurrent.futures.ProcessPoolExecutor(1), "a pool"),
    "future": (concurrent.futures.Future, "a future"),
    "process": (lambda: subprocess.Popen(["true"]), "a process"),
    "unknown": (lambda: sys._getframe(), "an object of type frame, which may hold anything"),
}


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", NOT_INERT)
@pytest.mark.parametrize(
    "holder",
    [
        lambda held: held,
        lambda held: {"a": [(1, held)]},
        lambda held: Point(1, held),
        Slotted,
        lambda held: Pair(1, held),
        closure,
        default,
        lambda held: functools.partial(print, held),
        lambda held: OwnList([held]),
        lambda held: OwnError(held),
        lambda held: Namedlist([held]),
        lambda held: types.SimpleNamespace(a={"b": held}),
        lambda held: type("Holder", (), {"held": held}),
        lambda held: collections.defaultdict(list, a=held),
        lambda held: [*range(1000), held],
    ],
)
def test_what_a_fork_would_share_is_named_wherever_it_is(name: str, holder: Callable[[Any], object]) -> None:
    make, called = NOT_INERT[name]
    held = make()
    try:
        assert reason(holder(held)) == f"keeps {called} (NAME)"
    finally:
        for end in ("close", "shutdown", "wait"):
            if hasattr(held, end) and name not in ("event", "condition"):
                getattr(held, end)()
                break


def test_a_coroutine_is_not_inert() -> None:
    waiting = coroutine()
    assert reason(waiting) == "keeps a coroutine (NAME)"
    waiting.close()


def test_what_is_closed_is_inert() -> None:
    with open(__file__) as file, socket.socket() as sock, zipfile.ZipFile(io.BytesIO(), "w") as archive:
        pass
    assert [reason(one) for one in (file, sock, archive)] == [""] * 3


def test_what_any_snakefile_has_is_not_looked_at_and_what_replaces_it_is() -> None:
    lock = threading.Lock()
    assert reason(lock, {"NAME": lock}) == ""
    assert reason(lock, {"NAME": threading.Lock()}) == "keeps a lock (NAME)"


def test_objects_that_hold_each_other_are_looked_at_once() -> None:
    one: list[object] = []
    one.append(one)
    assert reason([one, one]) == ""


def test_names_of_other_functions_are_looked_at() -> None:
    names: dict[str, Any] = {"lock": threading.Lock()}
    exec(compile("def function(): return lock", __file__, "exec"), names)
    assert reason(names["function"]) == "keeps a lock (NAME)"


def test_classes_are_told_from_types_of_extensions() -> None:
    for kind in (Point, Slotted, OwnError, OwnList, Pair, Kind, pathlib.Path, Version, argparse.Namespace):
        assert is_written_in_python(kind), kind
    for kind in (re.Pattern, type(threading.Lock()), zoneinfo.ZoneInfo, sqlite3.Connection, int, functools.partial):
        assert not is_written_in_python(kind), kind
    random_numbers = random.Random.__mro__[1]
    assert not is_written_in_python(random_numbers)


DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates() | st.uuids(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text(), inner)
        | st.tuples(inner, inner)
        | st.builds(Point, inner, inner)
        | st.builds(Slotted, inner)
    ),
)


@given(DATA, DATA)
def test_any_data_is_inert_until_a_lock_is_in_it(data: object, more: object) -> None:
    assert reason({"a": data, "b": more}) == ""
    assert reason({"a": data, "b": [more, threading.Lock()]}) == "keeps a lock (NAME)"


# -- numpy and pandas -------------------------------------------------------------------------------------------


def test_tables_and_arrays_are_inert() -> None:
    np = pytest.importorskip("numpy")
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame(
        {
            "text": ["a", None],
            "object": np.array([{"a": 1}, (1, 2)], dtype=object),
            "number": [1, 2],
            "when": pd.to_datetime(["2020", "2021"]),
            "kind": pd.Categorical(["u", "v"]),
            "integer": pd.array([1, None], dtype="Int64"),
        }
    )
    values = (
        *(np.array([1.5]), np.array(["a", None], dtype=object), np.float64(1), np.str_("a"), np.dtype("f4"), np.sin),
        *(np.zeros(2, dtype=[("a", "f4"), ("b", "O")]), np.mean, np.random.normal, np.random, np.poly1d([1])),
        *(table, table["text"], table.loc[0], table.index, table.columns, table.set_index(["text", "number"])),
        *(table.groupby("kind", observed=True), table.set_index(["text", "number"]).index, pd.NA, pd.NaT),
        *(pd.Timestamp("2020"), pd.Timedelta("1D"), pd.Interval(0, 1), pd.date_range("2020", periods=2), table.dtypes),
        *(table.T, table.describe(), pd.Period("2020"), table.itertuples),
    )
    for value in values:
        assert reason(value) == "", type(value)


def test_what_tables_and_arrays_hold_is_looked_at() -> None:
    np = pytest.importorskip("numpy")
    pd = pytest.importorskip("pandas")
    lock = threading.Lock()
    array = np.array([1, lock], dtype=object)
    table = pd.DataFrame({"a": array})
    indexed = pd.Series([1, 2], index=array)
    attributes = pd.DataFrame({"a": [1]})
    attributes.attrs["lock"] = lock
    for value in (array, table, table["a"], indexed, attributes, table.set_index("a", append=True), [table]):
        assert reason(value) == "keeps a lock (NAME)", type(value)


@pytest.mark.parametrize("kind", ["default_rng", "RandomState", "PCG64", "SeedSequence"])
def test_numpys_generators_are_not_inert(kind: str) -> None:
    np = pytest.importorskip("numpy")
    generator = getattr(np.random, kind)()
    assert reason({"a": generator}) == "keeps a random generator (NAME)"
    if kind == "default_rng":
        assert reason(generator.normal) == "keeps a random generator (NAME)"


def test_a_large_table_is_looked_at_in_no_time() -> None:
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame({"a": ["text"] * 1_000_000, "b": [("a", 1)] * 1_000_000}, dtype=object)
    assert reason(table) == ""
