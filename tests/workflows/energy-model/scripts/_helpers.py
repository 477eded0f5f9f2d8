"""Imported by the Snakefile and by its scripts."""

import datetime
import logging
from pathlib import Path

import yaml


def today():
    return datetime.date.today().isoformat()


def get_scenarios(run):
    scenarios = yaml.safe_load(Path("config/scenarios.yaml").read_text())
    return {name: scenarios[name] for name in run["scenarios"]}


def path_provider(folder, rdir):
    """Paths below a folder, each in that of the run."""

    def path(name):
        return f"{folder}{rdir}{name}"

    return path


def configure_logging(snakemake):
    for log in snakemake.log:
        Path(log).parent.mkdir(parents=True, exist_ok=True)
        logging.basicConfig(filename=log, level=logging.INFO, format="%(levelname)s %(message)s", force=True)


def mock_snakemake(rulename, **wildcards):
    """For a developer who runs a script without Snakemake."""
    import snakemake as sm

    raise NotImplementedError(f"{rulename} {wildcards} {sm.__name__}")
