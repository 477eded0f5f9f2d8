"""The README claims no feature that no test shows, and leaves none out."""

from __future__ import annotations

import subprocess
import sys

from .table import ROOT, in_readme

SHOW = "from tests.features.table import claimed, table; t = table(claimed().rows); print('\\n\\n' + t)"


def test_the_table_in_the_readme_is_what_the_tests_show() -> None:
    # In a process of its own: pytest can't be run within pytest.
    collected = subprocess.run([sys.executable, "-c", SHOW], cwd=ROOT, capture_output=True, text=True, check=True)
    rows = collected.stdout.rpartition("\n\n")[2].strip()
    assert in_readme() == rows, "python -m tests.features.table writes it anew"
