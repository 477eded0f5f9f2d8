"""Text of others (logs, names, batch systems' words) made fit for a terminal and for file names."""

from __future__ import annotations

import re

# Control sequences; then whatever a terminal obeys or hides: C0 and C1 control characters, line separators,
# and the marks that change the direction of writing.
_UNPRINTABLE = re.compile(
    "\x1b\\[[0-?]*[ -/]*[@-~]|[^\t\n\x20-\x7e\xa0-\U0010ffff]|[\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_NOT_IN_A_FILE_NAME = re.compile(r"[^\w.+=@-]|^\.", re.ASCII)


def printable(text: str) -> str:
    """Without colour codes and control characters, which could rewrite the user's terminal.

    >>> printable("\\x1b[31mred\\x1b[0m\\x07 plain\\r")
    'red plain'
    """
    return _UNPRINTABLE.sub("", text)


def file_name(text: str) -> str:
    """`text` as the name of one file: names of groups may hold anything. What makes a long one unique is its end.

    >>> file_name("../a b/c"), file_name("align-12-1")
    ('_._a_b_c', 'align-12-1')
    """
    return _NOT_IN_A_FILE_NAME.sub("_", text)[-200:]
