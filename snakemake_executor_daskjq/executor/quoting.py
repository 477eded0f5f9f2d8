"""Snakemake's own words for the options of a spawned job, quoted so that a shell reads each as it was meant.

Reaches into `snakemake.spawn_jobs` (its `format_cli_arg`), which puts options together as a string for a shell and
quotes values as Python does: a shell doubles backslashes of such values, and misreads those with both kinds of quotes.
"""

from __future__ import annotations

import inspect
import shlex
from collections import UserDict
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakemake_interface_common.settings import SettingsEnumBase
from snakemake_interface_common.utils import not_iterable
from snakemake_interface_executor_plugins.utils import encode_as_base64

if TYPE_CHECKING:
    from collections.abc import Iterator

_PARAMETERS = ["flag", "value", "quote", "skip", "base64_encode"]


@contextmanager
def exact() -> Iterator[None]:
    """While it lasts, Snakemake's `SpawnedJobArgsFactory` writes strings that a shell reads exactly.

    Where Snakemake's insides are not as expected, they stay as they are: values without special characters come out
    right in any case. Whoever else calls them meanwhile gets a string for a shell, too.
    """
    from snakemake import spawn_jobs

    original = getattr(spawn_jobs, "format_cli_arg", None)
    if original is None or list(inspect.signature(original).parameters) != _PARAMETERS:
        yield
        return
    spawn_jobs.format_cli_arg = format_cli_arg
    try:
        yield
    finally:
        spawn_jobs.format_cli_arg = original


def format_cli_arg(flag: str, value: Any, quote: bool = True, skip: bool = False, base64_encode: bool = False) -> str:
    r"""As Snakemake's function of that name; `quote` plays no part, for what needs no quotes gets none.

    >>> shlex.split(format_cli_arg("--config", ["pat=[.]+", "who=it's \"me\""]))
    ['--config', 'pat=[.]+', 'who=it\'s "me"']
    >>> format_cli_arg("--nolock", True), format_cli_arg("--cache", None), format_cli_arg("--set-scatter", {"s": 2})
    ('--nolock', '', '--set-scatter s=2')
    >>> format_cli_arg("--shadow-prefix", "-x")  # not another option
    '--shadow-prefix=-x'
    """
    if skip or not value:
        return ""
    if isinstance(value, bool):
        return flag
    if isinstance(value, dict | UserDict):
        texts = [f"{key}={_text(one)}" for key, one in value.items()]
        texts = [encode_as_base64(text) if base64_encode else text for text in texts]
    else:
        values = [value] if not_iterable(value) else value
        encodes = [base64_encode and isinstance(one, str | Path) for one in values]
        texts = [encode_as_base64(_text(one)) if on else _text(one) for one, on in zip(values, encodes, strict=True)]
    if len(texts) == 1 and texts[0].startswith("-"):
        return shlex.quote(f"{flag}={texts[0]}")
    return shlex.join([flag, *texts])


def _text(value: Any) -> str:
    if isinstance(value, SettingsEnumBase):
        return str(value.item_to_choice())
    return str(value) if isinstance(value, str | Path) else repr(value)
