"""Private names of Snakemake, Dask, dask-jobqueue and Python are used in modules made for that, and nowhere else."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "snakemake_executor_daskjq"

INSIDES = {
    "dask_cluster/dask_internals.py",
    "dask_cluster/pilots.py",  # dask-jobqueue's job classes, which it extends
    "executor/resume_internals.py",
    "executor/scheduler_internals.py",
    "executor/snakemake_internals.py",
    "cli/preview.py",  # Snakemake's steps to a DAG
    "pilot/dask_internals.py",
    "launcher/inert_state.py",  # what objects of Python, numpy and pandas hold; what it does not know is refused
    "launcher/python_internals.py",
    "launcher/shortcuts.py",  # left out where Snakemake is another
    "launcher/snakemake_internals.py",
}
DOCUMENTED = {"os._exit", "sys._getframe"}


def private(path: Path) -> set[str]:
    """The private attributes that a module uses of something else than its own objects."""
    tree = ast.parse(path.read_text())
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    return {
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and node.attr not in own
        and ast.unparse(node.value) not in ("self", "cls", "super()")
    }


def test_private_names_of_others_are_used_in_their_modules_only() -> None:
    used = {
        str(path.relative_to(PACKAGE)): found for path in PACKAGE.rglob("*.py") if (found := private(path) - DOCUMENTED)
    }
    assert {name: found for name, found in used.items() if name not in INSIDES} == {}
    assert used.keys() | {"pilot/dask_internals.py"} == INSIDES  # none is listed for nothing
