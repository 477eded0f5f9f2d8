"""The command `daskjq`. Each subcommand imports what it needs itself: none is slow for another's sake."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from .. import batch
from ..errors import DaskjqError, shown
from ..text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="daskjq", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    pools = commands.add_parser("pools", help="show or write pools").add_subparsers(
        dest="pools_command", required=True, metavar="COMMAND"
    )
    check = pools.add_parser(
        "check",
        help="show the job script of each pool, and which rules of a workflow go where; nothing is submitted",
        usage="daskjq pools check [FILE] [SNAKEMAKE OPTIONS]",
        epilog="Options of Snakemake, such as --snakefile, --profile or --set-resources, name the workflow and how it "
        "would be run. Without FILE, the pools are those that these options describe; with neither, Slurm's.",
    )
    check.add_argument("file", nargs="?", type=Path, metavar="FILE", help="a pools file")
    check.set_defaults(run=_check)
    from_slurm = pools.add_parser("from-slurm", help="write a first pools file from what Slurm says of its partitions")
    from_slurm.add_argument("--account", metavar="NAME", help="the account that jobs will be charged to")
    from_slurm.set_defaults(run=_from_slurm)
    migrate = commands.add_parser(
        "migrate", help="print a profile that was written for the Slurm executor in daskjq's words"
    )
    migrate.add_argument("profile", type=Path, metavar="PROFILE", help="the profile's folder, or its file")
    migrate.set_defaults(run=_migrate)
    explain = commands.add_parser("explain", help="why jobs wait, and what the pilots do, in a run or after it")
    explain.add_argument(
        "asked", nargs="?", metavar="JOB|RULE", help="a job's id or key, or a rule; default: all waiting"
    )
    explain.set_defaults(run=_explain)
    report = commands.add_parser("report", help="what each rule used, beside what it asked for")
    report.set_defaults(run=_report)
    start = commands.add_parser(
        "start",
        help="have pilots for any number of runs: a controller with a name, until Ctrl-C or 'daskjq stop NAME'",
        usage="daskjq start NAME [SNAKEMAKE OPTIONS]",
        epilog="The options that describe pilots (--daskjq-system and so on, or a --profile with them) are those of "
        "Snakemake. Runs use it with --daskjq-controller NAME.",
    )
    start.add_argument("name", metavar="NAME")
    start.set_defaults(run=_start)
    status = commands.add_parser("status", help="show controllers, their pilots and runs")
    status.set_defaults(run=_status)
    stop = commands.add_parser(
        "stop", help="end a controller, or the pilots that were kept (--daskjq-keep), and wait until they are gone"
    )
    stop.set_defaults(run=_stop)
    for command in (status, stop):
        command.add_argument(
            "name", nargs="?", metavar="NAME", help="a controller that 'daskjq start NAME' has started"
        )
    for command in (explain, report):
        command.add_argument(
            "--run", type=Path, metavar="FOLDER", dest="folder", help="the run's folder; default: the latest"
        )
    for command in (explain, report, status, stop):
        command.add_argument(
            *("--log-folder", "--daskjq-log-folder"),
            type=Path,
            default=Path(".snakemake", "daskjq"),
            metavar="DIR",
            help="where to look for the latest run: what the run's --daskjq-log-folder was",
        )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    rest: list[str] = []
    if not {"-h", "--help"} & set(words):  # Snakemake reads its own options
        if words[:2] == ["pools", "check"]:
            start = 2 if words[2:3] and words[2].startswith("-") else 3
            words, rest = words[:start], words[start:]
        elif words[:1] == ["start"]:
            words, rest = words[:2], words[2:]
    arguments = parser().parse_args(words)
    arguments.rest = rest
    try:
        status: int = arguments.run(arguments)
    except DaskjqError as error:
        print(f"daskjq: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `daskjq ... | head`
        sys.stderr.close()
        return 1
    return status


def _check(arguments: argparse.Namespace) -> int:
    from ..config.settings import ExecutorSettings, check_given_once, configure
    from ..dask_cluster.offers import complete, script

    workflow = None
    check_given_once(arguments.rest)
    if arguments.rest:
        from . import preview

        options = ["--daskjq-pools", str(arguments.file)] if arguments.file else []
        workflow = preview.parse([*options, *arguments.rest])
        settings = workflow.settings
    else:
        settings = ExecutorSettings(pools=arguments.file) if arguments.file else ExecutorSettings(system="slurm")
    config = configure(settings)
    pools = complete(config.pools, workflow.cores if workflow else None)
    for pool in pools:
        offer = ", ".join(shown(name, amount) for name, amount in pool.amounts.items())
        limit = "one pilot" if pool.max_pilots == 1 else f"at most {pool.max_pilots} pilots"
        print(f"pool {pool.name}: system {pool.system}, {limit} with {offer}")
        system = batch.system(pool.system)
        if system.queues:
            print("".join(f"    {line}\n" for line in script(pool, config.interface).splitlines()))
        if shortfall := system.shortfall(pool):
            print(f"warning: pool {pool.name}: {shortfall}", file=sys.stderr)
    fits = True
    for asked in workflow.asked if workflow else ():
        where, fit = preview.placement(asked, pools)
        fits = fits and fit
        print(f"rule {asked.rule}, {asked.jobs} job{'s' * (asked.jobs > 1)}: {where}")
    return 0 if fits else 1


def _from_slurm(arguments: argparse.Namespace) -> int:
    from ..batch import slurm_partitions

    partitions = slurm_partitions.discover(arguments.account)
    if not slurm_partitions.usable(partitions):
        slurm_partitions.none_usable(partitions)
    print(slurm_partitions.pools_file(partitions), end="")
    return 0


def _migrate(arguments: argparse.Namespace) -> int:
    from .profile_migration import migrate

    path: Path = arguments.profile
    if path.is_dir():  # as Snakemake looks for it, but for the versions in the name
        found = [*path.glob("config*.yaml"), *path.glob("profile*.yaml")]
        if not found:
            raise DaskjqError(f"There is no config.yaml or profile.yaml in {path}.")
        path = found[0]
    try:
        text = path.read_text()
    except (OSError, ValueError) as error:
        raise DaskjqError(f"The profile {path} can't be read: {error}") from error
    print(migrate(text), end="")
    return 0


def _start(arguments: argparse.Namespace) -> int:
    from ..config.settings import check_given_once
    from .controllers import start
    from .snakemake_options import settings_of

    check_given_once(arguments.rest)
    return start(arguments.name, *settings_of(arguments.rest))


def _status(arguments: argparse.Namespace) -> int:
    from .controllers import status

    for line in status(arguments.log_folder, arguments.name):
        print(printable(line))
    return 0


def _stop(arguments: argparse.Namespace) -> int:
    from .controllers import stop

    for line in stop(arguments.log_folder, arguments.name):
        print(printable(line))
    return 0


def _explain(arguments: argparse.Namespace) -> int:
    from ..report.explain import explain
    from ..report.run import latest, load

    run = load(arguments.folder or latest(arguments.log_folder))
    for line in explain(run, arguments.asked, run.now if run.over else time.time()):
        print(printable(line))
    return 0


def _report(arguments: argparse.Namespace) -> int:
    from ..report.dask_clusters import dask_table
    from ..report.run import latest, load
    from ..report.table import table

    run = load(arguments.folder or latest(arguments.log_folder))
    print(printable("\n\n".join(filter(None, (table(run), dask_table(run))))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
