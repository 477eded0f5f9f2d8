"""Sizes and times as users and batch systems write them."""

from __future__ import annotations

import re

from .errors import SettingError

_CLOCK = re.compile(r"(?:(?P<days>\d+)-)?(?P<hours>\d+):(?P<minutes>[0-5]?\d)(?::(?P<seconds>[0-5]?\d))?")


def megabytes(option: str, text: object) -> int:
    """Whole MB (10^6 bytes) in a size, rounded down: a pilot never offers more than it has.

    >>> megabytes("memory", "64GB"), megabytes("memory", "1GiB"), megabytes("memory", "500")
    (64000, 1073, 500)
    >>> megabytes("memory", "lots")
    Traceback (most recent call last):
    snakemake_executor_daskjq.errors.SettingError: --daskjq-memory: found 'lots', allowed is a size such as \
64GB, 60GiB or 500 (MB).
    """
    import humanfriendly

    text = str(text).strip()
    try:
        size = int(text) if text.isdecimal() else int(humanfriendly.parse_size(text)) // 10**6
    except (humanfriendly.InvalidSize, ValueError):  # it raises the latter for digits such as ²
        size = 0
    if size <= 0:
        raise SettingError(option, text, "a size such as 64GB, 60GiB or 500 (MB)")
    return size


def seconds(option: str, text: object) -> float:
    """Seconds in a time, as batch systems write it or with a unit.

    >>> seconds("walltime", "1-02:00:00"), seconds("walltime", "04:30"), seconds("walltime", "90m")
    (93600.0, 16200.0, 5400.0)
    >>> seconds("walltime", "soon")
    Traceback (most recent call last):
    snakemake_executor_daskjq.errors.SettingError: --daskjq-walltime: found 'soon', allowed is \
[DAYS-]HH:MM[:SS], or a number with a unit such as 90s, 30m, 4h or 2d.
    """
    import humanfriendly

    text = str(text).strip()
    clock = _CLOCK.fullmatch(text)
    if clock:
        parts = {name: int(value or 0) for name, value in clock.groupdict().items()}
        return float(parts["days"] * 86400 + parts["hours"] * 3600 + parts["minutes"] * 60 + parts["seconds"])
    try:
        if not text.isdecimal():  # a bare number could be seconds, minutes or hours
            return float(humanfriendly.parse_timespan(text))
    except (humanfriendly.InvalidTimespan, ValueError):
        pass
    raise SettingError(option, text, "[DAYS-]HH:MM[:SS], or a number with a unit such as 90s, 30m, 4h or 2d")
