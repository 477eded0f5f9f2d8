"""What jobs that are a Snakemake of their own are told is what Snakemake's executors would tell them."""

from __future__ import annotations

import json
import shlex
from argparse import Namespace

import snakemake.cli

from ..workflow import Workflow

# Read by each Python before anything else: writes down our arguments of each job, and those of stock executors.
BOTH = """
    import json, sys
    if "daskjq" in sys.orig_argv:
        import snakemake.api
        from snakemake_executor_daskjq.executor.job_arguments import JobArguments
        from snakemake_interface_executor_plugins.executors.real import RealExecutor
        from snakemake_interface_executor_plugins.utils import format_cli_arg
        of_job = JobArguments.of_job
        def both(arguments, job, request):
            arguments._waits = True  # as where pilots are on other machines
            ours = of_job(arguments, job, request)
            theirs = RealExecutor.get_job_args(arguments._executor, job)
            theirs += " " + format_cli_arg("--wait-for-files", job.get_wait_for_files())  # as RemoteExecutor does
            with open("told.jsonl", "a") as told:
                print(json.dumps([request.rule, job.attempt, ours, theirs]), file=told)
            return ours
        JobArguments.of_job = both
"""
SNAKEFILE = """
    localrules: all
    rule all:
        input: "plain", "x y/it's_b.txt", "paired/0", "last", "again"
    rule plain:
        output: "plain"
        threads: 2
        resources: mem_mb=100, runtime=5
        shell: "touch {output}"
    rule wild:
        input: "plain"
        output: "x y/{a}_{b}.txt"
        shell: 'touch "{output}"'
    rule first:
        output: "first/{i}"
        group: "pair"
        shell: "touch {output}"
    rule second:
        input: "first/{i}"
        output: "paired/{i}"
        group: "pair"
        shell: "touch {output}"
    rule scratch:
        output: temp("needed"), temp("unneeded"), temp("un needed")
        shell: "touch needed unneeded 'un needed'"
    rule last:
        input: "needed"
        output: "last"
        shell: "touch {output}"
    rule again:
        output: "again"
        retries: 1
        resources: mem_mb=lambda wildcards, attempt: 100 * attempt
        shell: "if [ -e once ]; then touch {output}; else touch once; exit 1; fi"
"""


def read(arguments: list[str]) -> Namespace:
    """As the job's Snakemake reads them."""
    found = snakemake.cli.get_argument_parser().parse_args(arguments)
    vars(found).pop("max_jobs_per_timespan", None)  # the default is another object each time, and equals none
    return found


def test_a_job_is_told_what_stock_executors_tell_it(workflow: Workflow) -> None:
    workflow.write(BOTH, "both/sitecustomize.py").write(SNAKEFILE)
    workflow.env["PYTHONPATH"] = f"{workflow.folder / 'both'}:{workflow.env.get('PYTHONPATH', '')}"
    assert workflow.run("--jobs", "9", "--cores", "2", "--daskjq-warm-start", "workflow") == 0, workflow.output[-3000:]
    told = [json.loads(line) for line in workflow.read("told.jsonl").splitlines()]
    ours = {(rule, attempt): read(arguments) for rule, attempt, arguments, _ in told}
    theirs = {(rule, attempt): read(shlex.split(arguments)) for rule, attempt, _, arguments in told}
    assert ours == theirs
    rules = {"plain", "wild", "pair_first_second", "scratch", "last"}
    assert ours.keys() == {(rule, 1) for rule in rules} | {("again", 1), ("again", 2)}
    # What is compared is there.
    assert ours["wild", 1].target_jobs[0].wildcards_dict == {"a": "it's", "b": "b"}
    assert set(ours["wild", 1].wait_for_files) == {"plain"}
    assert len(ours["pair_first_second", 1].target_jobs) == 2
    assert ours["pair_first_second", 1].local_groupid != ours["plain", 1].local_groupid
    assert set(ours["scratch", 1].unneeded_temp_files) == {"unneeded", "un needed"}
    assert [ours["again", attempt].attempt for attempt in (1, 2)] == [1, 2]
