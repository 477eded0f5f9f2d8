"""What the README and `workflows/` promise to a new user."""

from __future__ import annotations

import re
import sys
from dataclasses import fields
from pathlib import Path

from snakemake_executor_daskjq.config.settings import ExecutorSettings

from ..workflow import Workflow

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_quick_start_runs_with_the_local_profile(workflow: Workflow) -> None:
    profile = ROOT / "workflows" / "profiles" / "local"
    snakefile = ROOT / "workflows" / "quickstart" / "Snakefile"
    assert workflow.run("--profile", str(profile), "--snakefile", str(snakefile)) == 0
    assert re.fullmatch(r"pi is about 3\.14\d+ \(\d+ darts\)\n", workflow.read("pi.txt"))
    started = {(event["warm_start"], event["colder_because"]) for event in workflow.journal("job_ended")}
    assert started == {("direct", ""), ("workflow", "it is a group of jobs")}


def test_the_readme_lists_every_option_and_no_other() -> None:
    options = {f"--daskjq-{option.name.replace('_', '-')}" for option in fields(ExecutorSettings)}
    table = README.partition("## Options")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(--daskjq-[a-z-]+)`", table, re.MULTILINE)) == options


def test_the_slurm_profile_holds_options_that_exist() -> None:
    import yaml

    profile = yaml.safe_load((ROOT / "workflows" / "profiles" / "slurm" / "profile.yaml").read_text())
    known = {f"daskjq-{option.name.replace('_', '-')}" for option in fields(ExecutorSettings)}
    ours = {key for key in profile if key.startswith("daskjq-")}
    assert ours
    assert ours <= known
    assert profile["executor"] == "daskjq"


def test_the_api_runs_a_workflow_as_the_command_does(workflow: Workflow) -> None:
    workflow.write("""
        rule a:
            output: "x"
            shell: "echo from the API > {output}"
    """)
    workflow.write(
        """
        from pathlib import Path
        from snakemake.api import SnakemakeApi
        from snakemake.settings.types import OutputSettings, ResourceSettings
        from snakemake_executor_plugin_daskjq import ExecutorSettings

        with SnakemakeApi(OutputSettings(nocolor=True)) as api:
            dag = api.workflow(resource_settings=ResourceSettings(nodes=10), snakefile=Path("Snakefile")).dag()
            dag.execute_workflow(executor="daskjq", executor_settings=ExecutorSettings(cores=1))
        """,
        "run.py",
    )
    import subprocess

    subprocess.run([sys.executable, "run.py"], cwd=workflow.folder, env=workflow.env, check=True, timeout=120)
    assert workflow.read("x") == "from the API\n"
