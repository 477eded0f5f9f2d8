"""What a fork server does to its memory before it forks: children that write to a page get, and pay for, a copy.

Python writes to nearly each object that it looks at, for it counts references in the object itself, and to the code
that it runs. So the code that jobs run is put together on few pages. Where the interpreter has immortal objects (PEP
683, from 3.12 on), those that never die during a job anyway are made such: a third of a job's page faults. None of
this changes what a job does.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import sysconfig
import types
from typing import TYPE_CHECKING, Any

from . import processes
from .python_internals import forget_null_handlers

if TYPE_CHECKING:
    from collections.abc import Iterable

LASTING = frozenset(
    (
        *(types.FunctionType, types.CodeType, types.CellType, types.ModuleType, types.BuiltinFunctionType),
        *(types.MethodDescriptorType, types.WrapperDescriptorType, types.GetSetDescriptorType),
        *(types.MemberDescriptorType, types.ClassMethodDescriptorType, property, staticmethod, classmethod),
        *(str, bytes, int, float, tuple, frozenset),
    )
)
"""Types whose objects, and classes, are made immortal: code, and values. Others may have to be ended by their last
reference: files, locks, and what holds them."""


_replaced: list[types.CodeType] = []
"""Code that has been copied: if it were freed, the objects of children would be scattered over its places."""


def gather_code(called: Iterable[types.CodeType]) -> None:
    """Replace the code of functions by copies that lie next to each other.

    Python forgets what it has specialized in them: call them again before the fork.
    """
    originals = {id(code): code for code in called}
    copies: dict[int, types.CodeType] = {}

    def copy(code: types.CodeType) -> types.CodeType:
        if id(code) not in copies:
            inner = (copy(one) if id(one) in originals else one for one in code.co_consts)
            copies[id(code)] = code.replace(co_consts=tuple(inner))
        return copies[id(code)]

    for function in [one for one in gc.get_objects() if type(one) is types.FunctionType]:
        if id(function.__code__) in originals:
            function.__code__ = copy(function.__code__)
    _replaced.extend(originals.values())


_held: list[object] = []
"""What the frames below the fork hold: a child that returns through them would free it, piece by piece."""


def _hold_frames(frame: types.FrameType | None) -> None:
    """Keep the local objects of a frame and of all that called it."""
    while frame is not None:
        _held.extend(frame.f_locals.values())
        frame = frame.f_back


def prepare_to_fork() -> None:
    """No garbage to collect in children, nothing in buffers that they would repeat, and few pages to copy."""
    sys.stdout.flush()
    sys.stderr.flush()
    _hold_frames(sys._getframe())
    forget_null_handlers()
    gc.collect()
    if mark := _immortal_mark():
        _make_immortal(mark)
    gc.freeze()
    processes.use_huge_pages()


def _immortal_mark() -> int:
    """The reference count of an immortal object here, 0 where there are none.

    It is in the low half of the 64 bits that each object begins with.
    """
    mark = sys.getrefcount(None)
    plain = sys.maxsize > 2**32 and sys.byteorder == "little" and not sysconfig.get_config_var("Py_GIL_DISABLED")
    if not plain or mark not in (2**32 - 1, 3 * 2**30):  # 3.12 and 3.13, 3.14
        return 0
    probe = object()
    ctypes.c_uint32.from_address(id(probe)).value = mark
    references = [probe] * 3
    return mark if sys.getrefcount(references[0]) == mark else 0


def _make_immortal(mark: int) -> None:
    """Of what the collector knows, of what that refers to, and of the constants of functions."""
    memory = memoryview((ctypes.c_uint32 * 2**45).from_address(0)).cast("B").cast("I")

    def mark_all(objects: Iterable[Any]) -> None:
        for one in objects:
            kind = type(one)  # not `isinstance`, which asks proxies what they stand for
            if kind in LASTING or issubclass(kind, type):
                memory[id(one) >> 2] = mark

    known = gc.get_objects()
    referred = gc.get_referents(*known)
    mark_all(known)
    mark_all(referred)
    codes = {id(one): one for one in referred if isinstance(one, types.CodeType)}
    while codes:
        constants = [constant for code in codes.values() for constant in code.co_consts]
        mark_all(constants)
        codes = {id(one): one for one in constants if isinstance(one, types.CodeType)}
