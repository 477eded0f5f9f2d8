"""Who may import whom (the table in the README's design section), and what discovery costs."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "snakemake_executor_daskjq"
OURS = "snakemake_executor_daskjq"
HEAVY = {"distributed", "dask", "dask_jobqueue", "pulp", "pandas"}

# Folder or module -> what nothing in it may import, also not lazily.
FORBIDDEN: dict[str, set[str]] = {
    "executor": {
        *{"dask_jobqueue", "pulp", "distributed", "dask", f"{OURS}.worker", f"{OURS}.policy", f"{OURS}.cluster"},
        *{f"{OURS}.controller.{name}" for name in ("process", "run", "sweep")},
    },
    "controller": {"snakemake", f"{OURS}.executor", f"{OURS}.report", f"{OURS}.cli"},
    "frames.py": {"snakemake", "dask", "distributed", OURS},
    "settings.py": {"snakemake", "dask", "distributed"},
    "pools.py": {"snakemake", "dask", "distributed", f"{OURS}.settings"},
    "report": {"snakemake", "dask", "distributed", "pulp", f"{OURS}.cluster", f"{OURS}.executor", f"{OURS}.worker"},
    "cli.py": {"snakemake", "dask", "distributed", "pulp"},
    "profile_migration.py": {"snakemake", "dask", "distributed", "pulp", f"{OURS}.cluster", f"{OURS}.executor"},
    "migration.py": {"snakemake", "dask", "distributed", "pulp", f"{OURS}.cluster", f"{OURS}.executor"},
    "preview.py": {"dask", "distributed", "pulp", f"{OURS}.cluster", f"{OURS}.executor"},
    "batch": {
        *("snakemake", "dask", "distributed", "dask_jobqueue", "pulp"),
        *(f"{OURS}.{higher}" for higher in ("settings", "cluster", "executor", "worker", "policy", "mapping")),
    },
    "signals.py": {"snakemake", "dask", "distributed", f"{OURS}.cluster", f"{OURS}.executor"},
    "mapping.py": {"snakemake", "dask", "distributed", "pulp", f"{OURS}.cluster"},
    "history.py": {"snakemake", "dask", "distributed", f"{OURS}.cluster", f"{OURS}.executor"},
    "text.py": {"snakemake", "dask", "distributed", "dask_jobqueue", "pulp", f"{OURS}.cluster", f"{OURS}.worker"},
    "journal.py": {"snakemake", "dask", "distributed", f"{OURS}.cluster", f"{OURS}.executor"},
    "model": {"snakemake", "dask", "distributed", "pulp", f"{OURS}.settings", f"{OURS}.policy", f"{OURS}.cluster"},
    "policy": {
        *("snakemake", "dask", "distributed", "asyncio", "threading", "time", "datetime"),
        *("os", "pathlib", "subprocess"),
        *(f"{OURS}.{higher}" for higher in ("cluster", "worker", "executor", "controller", "journal", "history")),
    },
    "cluster": {"snakemake", f"{OURS}.executor", f"{OURS}.controller"},
    "worker": {f"{OURS}.policy", f"{OURS}.executor", f"{OURS}.cluster", f"{OURS}.controller"},
}


def imported(path: Path) -> set[str]:
    """The absolute names of all that a module imports, outside `if TYPE_CHECKING`."""
    package = ".".join(path.relative_to(ROOT).with_suffix("").parts[:-1])
    names: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([node.module] if node.module else [])])
            names.update({base, *(f"{base}.{alias.name}" for alias in node.names)})
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text()))
    return names


def modules(where: str) -> list[Path]:
    path = PACKAGE / where
    return [path] if path.suffix else sorted(path.rglob("*.py"))


@pytest.mark.parametrize("where", FORBIDDEN)
def test_lower_rows_never_import_higher_ones(where: str) -> None:
    allowed_exception = {"snakemake.settings.enums"} if where == "executor" else set()
    for path in modules(where):
        for name in imported(path) - allowed_exception:
            for forbidden in FORBIDDEN[where]:
                assert not f"{name}.".startswith(f"{forbidden}."), f"{path.name} imports {name}"


def test_every_module_is_held_by_a_rule() -> None:
    free = {"errors.py", "__init__.py"}
    unruled = {path.name for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert unruled - free - set(FORBIDDEN) == set()


def python(code: str, **env: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, **env}
    )
    return result.stdout.strip()


def test_discovery_imports_nothing_heavy() -> None:
    loaded = python(
        "import sys, snakemake_executor_plugin_daskjq\n"
        f"print(sorted({HEAVY!r} & {{name.partition('.')[0] for name in sys.modules}}))"
    )
    assert loaded == "[]"


@pytest.mark.parametrize("module", ["host", "warm"])
def test_rule_hosts_import_no_dask(module: str) -> None:
    """They are forked for each job, and start in the time that a job waits for them."""
    loaded = python(
        f"import sys, {OURS}.worker.{module}\n"
        f"print(sorted({HEAVY!r} & {{name.partition('.')[0] for name in sys.modules}}))"
    )
    assert loaded == "[]"


def test_the_protocol_and_the_executor_import_nothing_heavy() -> None:
    loaded = python(
        "import sys, snakemake_executor_daskjq.controller.protocol, snakemake_executor_daskjq.executor.controller\n"
        f"print(sorted({HEAVY!r} & {{name.partition('.')[0] for name in sys.modules}}))"
    )
    assert loaded == "[]"


def test_discovery_costs_less_than_15_ms_of_cpu(tmp_path: Path) -> None:
    # Snakemake has imported the interface packages itself by then, and Python has cached the bytecode of an
    # installed package. Other load on the machine only adds: once is enough.
    code = (
        "import time, snakemake.cli, sys\n"
        "for name in [name for name in sys.modules if name.startswith('snakemake_executor_')]: del sys.modules[name]\n"
        "start = time.process_time(); import snakemake_executor_plugin_daskjq\n"
        "print(time.process_time() - start)"
    )
    cached = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path)}
    assert any(float(python(code, **cached)) < 0.015 for _ in range(20))
