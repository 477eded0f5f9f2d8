"""Options of daskjq as Snakemake reads them: from a command line, profiles and the environment, without a workflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..config.settings import ExecutorSettings


def settings_of(argv: Sequence[str]) -> tuple[ExecutorSettings, int | None]:
    """The options `--daskjq-*` among Snakemake's, and `--cores` (None where it is not given, or no number).

    Raises SystemExit where Snakemake finds fault with an option.
    """
    from snakemake.cli import parse_args
    from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

    _, options = parse_args(["--executor", "daskjq", "--jobs", "1", *argv])
    settings = ExecutorPluginRegistry().get_plugin("daskjq").get_settings(options)
    cores = options.cores if isinstance(options.cores, int) else None
    return cast("ExecutorSettings", settings), cores
