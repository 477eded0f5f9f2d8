"""Pools as users state them: what each key may hold, and the pools file.

A pool by options (`--daskjq-cores` and so on) and a pool of a file pass through the same `pool_of`; they differ
only in where an error says that the value stands. Nothing here asks the machine or a batch system.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import batch
from ..batch.base import BATCH_KEYS, SPECIAL_KEYS
from ..errors import SettingError
from ..model.pool import Pool
from ..units import megabytes, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_POOL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def _walltime_s(option: str, text: object) -> int:
    walltime_s = round(seconds(option, text))
    if walltime_s < 60:
        raise SettingError(option, text, "at least one minute")
    return walltime_s


def _whole(least: int) -> Callable[[str, object], int]:
    def read(option: str, value: object) -> int:
        if isinstance(value, str) and value.isdecimal():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise SettingError(option, value, f"a whole number from {least}")
        return value

    return read


def _cost(option: str, value: object) -> float:
    try:
        cost = float(str(value))
    except ValueError:
        cost = -1.0
    if not 0 <= cost < float("inf"):
        raise SettingError(option, value, "a number from 0")
    return cost


def _system(option: str, value: object) -> str:
    if value not in batch.NAMES:
        raise SettingError(option, value, f"one of {', '.join(batch.NAMES)}")
    return str(value)


def _word(option: str, text: object) -> str:
    if not isinstance(text, str) or not text.strip() or re.search(r"[\s;&|<>$`'\"\\]", text):
        raise SettingError(option, text, "one word without shell characters")
    return text


def _constraint(option: str, text: object) -> str:
    """Slurm's constraints may hold & and |; the job script's header is read by no shell."""
    if not isinstance(text, str) or not text or re.search(r"[\s;<>$`'\"\\]", text):
        raise SettingError(option, text, "features of nodes, such as avx2 or avx2&ib")
    return text


def _lines(option: str, value: object) -> tuple[str, ...]:
    lines = [value] if isinstance(value, str) else value
    if not isinstance(lines, list) or any("\n" in line or "\r" in line for line in lines):
        raise SettingError(option, value, "a list of lines")
    return tuple(lines)


def _words(option: str, value: object) -> tuple[str, ...]:
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not words or any(not word or re.search(r"[\s,]", word) for word in words):
        raise SettingError(option, value, "a word, or a list of words")
    return tuple(words)


def _amounts(option: str, value: object) -> dict[str, int]:
    pairs: object = [f"{name}={amount}" for name, amount in value.items()] if isinstance(value, dict) else value
    if not isinstance(pairs, list):
        raise SettingError(option, value, "names with whole numbers, such as licenses: 2")
    amounts: dict[str, int] = {}
    for pair in pairs:
        name, _, amount = pair.partition("=")
        if not _NAME.fullmatch(name) or not amount.isdecimal():
            raise SettingError(option, pair, "NAME=INT, such as licenses=2")
        if name in ("cores", "mem_mb", "gpu", "runtime", "nodes"):
            raise SettingError(option, pair, "another name (there are cores, memory, gpus, nodes and walltime)")
        amounts[name] = int(amount)
    return amounts


def _path(option: str, value: object) -> Path:
    if not str(value).strip():
        raise SettingError(option, value, "a folder")
    return Path(str(value)).expanduser()


KEYS: dict[str, tuple[str, Callable[[str, object], Any]]] = {
    # What users write -> the field of Pool, and what reads it. `gpus`, `disk` and `resources` are the pool's `others`.
    "system": ("system", _system),
    "cores": ("cores", _whole(1)),
    "memory": ("mem_mb", megabytes),
    "gpus": ("gpu", _whole(0)),
    "disk": ("disk_mb", megabytes),
    "resources": ("others", _amounts),
    "walltime": ("walltime_s", _walltime_s),
    "nodes": ("nodes", _whole(1)),
    "queue": ("queue", _word),
    "account": ("account", _word),
    "constraint": ("constraint", _constraint),
    "parallel_environment": ("parallel_environment", _word),
    "directives": ("directives", _lines),
    "prologue": ("prologue", _lines),
    "min_pilots": ("min_pilots", _whole(0)),
    "max_pilots": ("max_pilots", _whole(1)),
    "max_queued": ("max_queued", _whole(1)),
    "cost_per_hour": ("cost_per_hour", _cost),
    "idle_timeout": ("idle_timeout_s", seconds),
    "rules": ("rules", _words),
    "labels": ("labels", _words),
    "scratch_folder": ("scratch_folder", _path),
    "config_name": ("config_name", _word),
}


def pool_of(name: str, stated: Mapping[str, object]) -> Pool:
    """The pool that a user states, key by key. Raises SettingError for the first value that is not allowed."""
    fields: dict[str, Any] = {"name": name, "max_pilots": 10}
    for key, value in stated.items():
        field, read = KEYS[key]
        fields[field] = read(key, value)
    others = {field: fields.pop(field) for field in ("gpu", "disk_mb") if field in fields}
    fields["others"] = {**fields.get("others", {}), **others}
    system = fields.get("system")
    if system is None:
        raise SettingError("system", None, f"one of {', '.join(batch.NAMES)}")
    if batch.system(system).is_this_machine and "max_pilots" not in stated:
        fields["max_pilots"] = 1
    for key in stated:
        if key in (BATCH_KEYS | SPECIAL_KEYS) - batch.system(system).keys:
            raise SettingError(key, stated[key], f"nothing with the system {system}")
    if fields.get("min_pilots", 0) > fields["max_pilots"]:
        raise SettingError("min_pilots", fields["min_pilots"], f"at most max_pilots, {fields['max_pilots']}")
    return Pool(**fields)


def read(path: Path) -> tuple[Pool, ...]:
    """The pools of a pools file, in its order.

    A file with the key `executor` or `daskjq-pools` is a Snakemake profile that carries its pools along: its
    other keys are Snakemake's. (Snakemake passes over a mapping under a key that is no option of its own.)

    Raises
    ------
    SettingError : with the file, the line and the key.
    """
    import yaml

    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError("pools", str(path), f"a file that can be read ({error})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}, line {mark.line + 1}" if mark else str(path)
        raise SettingError("pools", getattr(error, "problem", None) or str(error), "YAML", place) from None
    return _Reader(path).pools(root)


class _Reader:
    """Walks YAML's nodes, for they know their lines, and scalars stay as they are written (12:00:00 is a time)."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def pools(self, root: Any) -> tuple[Pool, ...]:
        top = self._mapping(root, "")
        profile = "executor" in top or "daskjq-pools" in top
        for key, (line, value) in top.items():
            if key not in ("pools", "defaults") and not profile:
                self._refuse(line, key, self._plain(value), "the keys pools and defaults here")
        if "pools" not in top:
            self._refuse(1, "pools", None, "a mapping from names to pools under the key pools")
        defaults = self._stated("defaults", top["defaults"][1]) if "defaults" in top else {}
        line, node = top["pools"]
        named = self._mapping(node, "pools")
        if not named:
            self._refuse(line, "pools", None, "at least one pool")
        return tuple(self._pool(name, line, value, defaults) for name, (line, value) in named.items())

    def _pool(self, name: str, line: int, node: Any, defaults: dict[str, tuple[int, str, object]]) -> Pool:
        if not _POOL_NAME.fullmatch(name):
            self._refuse(line, "pools", name, "names of letters, digits, _ and -, not starting with a digit")
        stated = {**defaults, **self._stated(f"pools.{name}", node)}
        try:
            return pool_of(name, {key: value for key, (_, _, value) in stated.items() if value is not None})
        except SettingError as error:
            line, where, _ = stated.get(error.option, (line, f"pools.{name}", None))
            raise SettingError(
                error.option, error.found, error.allowed, f"{self._path}, line {line}, {where}.{error.option}"
            ) from None

    def _stated(self, where: str, node: Any) -> dict[str, tuple[int, str, object]]:
        """Key -> line, where it stands, value; None undoes a default."""
        stated: dict[str, tuple[int, str, object]] = {}
        for key, (line, value) in self._mapping(node, where).items():
            known = "queue" if key == "partition" else key.replace("-", "_")
            if known not in KEYS:
                self._refuse(line, f"{where}.{key}", self._plain(value), f"one of the keys {', '.join(KEYS)}")
            if known in stated:
                self._refuse(line, f"{where}.{key}", self._plain(value), "each key once")
            stated[known] = (line, where, self._plain(value, f"{where}.{key}"))
        return stated

    def _mapping(self, node: Any, where: str) -> dict[str, tuple[int, Any]]:
        if node is None or node.id == "scalar":
            if node is not None and node.value:
                self._refuse(node.start_mark.line + 1, where, node.value, "a mapping (key: value)")
            return {}
        if node.id != "mapping":
            self._refuse(node.start_mark.line + 1, where, "a list", "a mapping (key: value)")
        entries: dict[str, tuple[int, Any]] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.id != "scalar" or key.value in entries:
                self._refuse(line, where, getattr(key, "value", key.id), "each key once, and plain words as keys")
            entries[key.value] = (line, value)
        return entries

    def _plain(self, node: Any, where: str = "") -> object:
        """A scalar's text, a list of texts, or a mapping of texts; None where nothing stands."""
        if node.id == "scalar":
            return None if node.style is None and node.value in ("", "~", "null") else node.value
        parts = [value for _, value in node.value] if node.id == "mapping" else node.value
        for part in parts:
            if part.id != "scalar":
                self._refuse(part.start_mark.line + 1, where, f"a {part.id}", "one value")
        if node.id == "sequence":
            return [part.value for part in parts]
        return {key: value.value for key, (_, value) in self._mapping(node, where).items()}

    def _refuse(self, line: int, key: str, found: object, allowed: str) -> None:
        place = f"{self._path}, line {line}" + (f", {key}" if key else "")
        raise SettingError(key.rpartition(".")[2], found, allowed, place)
