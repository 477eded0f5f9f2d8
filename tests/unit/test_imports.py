"""Who may import whom, and what discovery costs."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "snakemake_executor_daskjq"
OURS = "snakemake_executor_daskjq"
HEAVY = {"distributed", "dask", "dask_jobqueue", "pulp", "pandas"}

LAYERS = (
    *("cli", "executor", "report", "controller", "dask_cluster", "config", "resources", "policy"),
    *("rules", "pilot", "launcher", "batch", "journal", "model"),
)
"""From what a user touches to what everybody knows: none imports one before it, also not lazily."""

SHARED = {"errors.py", "frames.py", "text.py", "units.py", "__init__.py"}
"""Modules that all may import and that import no layer."""

DASK = {"dask", "distributed", "dask_jobqueue"}
IMPURE = {"asyncio", "threading", "time", "datetime", "os", "pathlib", "subprocess", "socket"}
STARTS_RUNS = {f"{OURS}.controller.{name}" for name in ("driver", "process", "run", "sweep")}

FORBIDDEN: dict[str, set[str]] = {
    # Beyond the layers: what nothing in it may import.
    "executor": {
        *(DASK | STARTS_RUNS | {"pulp"}),
        *(f"{OURS}.{layer}" for layer in ("report", "dask_cluster", "pilot", "launcher")),
    },
    "cli": {"snakemake.settings", "pulp", *DASK},
    "report": {"snakemake", "pulp", *DASK, *STARTS_RUNS, f"{OURS}.controller", f"{OURS}.dask_cluster"},
    "controller": {"snakemake"},
    "dask_cluster": {"snakemake"},
    "config": {"snakemake", *DASK},
    "resources": {"snakemake", "pulp", *DASK},
    "policy": {"snakemake", *DASK, *IMPURE, f"{OURS}.pilot", f"{OURS}.launcher", f"{OURS}.journal.journal"},
    "rules": {"snakemake", "pulp", *(f"{OURS}.{layer}" for layer in ("pilot", "launcher", "batch", "journal"))},
    "pilot": {"snakemake", "pulp", "dask_jobqueue", f"{OURS}.journal"},
    "launcher": {"pulp", *DASK, f"{OURS}.batch", f"{OURS}.journal"},
    "batch": {"snakemake", "pulp", *DASK},
    "journal": {"snakemake", "pulp", *DASK},
    "model": {"snakemake", "pulp", *DASK, *IMPURE},
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


def imports_of(layer: str) -> set[tuple[str, str]]:
    """The modules of a layer with what each imports."""
    return {(path.name, name) for path in (PACKAGE / layer).rglob("*.py") for name in imported(path)}


@pytest.mark.parametrize("layer", LAYERS)
def test_lower_layers_never_import_higher_ones(layer: str) -> None:
    higher = {f"{OURS}.{other}" for other in LAYERS[: LAYERS.index(layer)]}
    forbidden = higher | FORBIDDEN[layer]
    allowed = {"snakemake.settings.enums"} if layer == "executor" else set()
    found = imports_of(layer)
    assert found
    for module, name in found:
        if name not in allowed:
            assert not [one for one in forbidden if f"{name}.".startswith(f"{one}.")], f"{module} imports {name}"


def test_what_all_may_import_imports_no_layer() -> None:
    for name in SHARED:
        layers = {
            other for other in imported(PACKAGE / name) if other.removeprefix(f"{OURS}.").partition(".")[0] in LAYERS
        }
        assert layers == set(), name


def test_every_module_is_in_a_layer_or_shared() -> None:
    here = {path.name for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert here == SHARED | set(LAYERS)


def python(code: str, **env: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, **env}
    )
    return result.stdout.strip()


def test_only_batch_asks_which_system_it_is() -> None:
    asked = re.compile(r"system(\.name)? *(==|!=|in \()|(==|!=) *system")
    lines = {
        f"{path.relative_to(PACKAGE)}: {line.strip()}"
        for path in PACKAGE.rglob("*.py")
        if "batch" not in path.relative_to(PACKAGE).parts
        for line in path.read_text().splitlines()
        if asked.search(line)
    }
    assert lines == set()


def test_discovery_imports_nothing_heavy() -> None:
    loaded = python(
        "import sys, snakemake_executor_plugin_daskjq\n"
        f"print(sorted({HEAVY!r} & {{name.partition('.')[0] for name in sys.modules}}))"
    )
    assert loaded == "[]"


@pytest.mark.parametrize("module", ["launcher", "fork_server"])
def test_rule_hosts_import_no_dask(module: str) -> None:
    """They are forked for each job, and start in the time that a job waits for them."""
    loaded = python(
        f"import sys, {OURS}.launcher.{module}\n"
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
