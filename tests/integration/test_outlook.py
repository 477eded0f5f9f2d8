"""What the executor tells of the DAG at the start."""

from __future__ import annotations

import json

from ..workflow import Workflow

# Read by each Python before anything else: writes down what the controller is told.
TOLD = """
    import json, sys
    if "daskjq" in sys.orig_argv:
        import snakemake.api
        from snakemake_executor_daskjq.executor import remaining_work as module
        remaining_work = module.remaining_work
        def told(dag):
            found = remaining_work(dag)
            follows = {rule: sorted(after) for rule, after in found.follows.items()}
            json.dump({"jobs": found.jobs, "follows": follows}, open("outlook.json", "w"))
            return found
        module.remaining_work = told
"""
GROUPS = """
    localrules: all, both
    rule all:
        input: "both"
    rule both:
        input: expand("b/{i}", i=range(4))
        output: "both"
        shell: "cat {input} > {output}"
    rule first:
        output: "first/{i}"
        shell: "echo {wildcards.i} > {output}"
    rule a:
        input: "first/{i}"
        output: "a/{i}"
        group: "pair"
        shell: "cp {input} {output}"
    rule b:
        input: "a/{i}"
        output: "b/{i}"
        group: "pair"
        shell: "cp {input} {output}"
"""


def test_a_group_is_one_job(workflow: Workflow) -> None:
    workflow.write(TOLD, "told/sitecustomize.py").write(GROUPS)
    workflow.env["PYTHONPATH"] = str(workflow.folder / "told")
    assert workflow.run("--jobs", "9", "--group-components", "pair=2") == 0, workflow.output[-3000:]
    told = json.loads(workflow.read("outlook.json"))
    assert told["jobs"] == {"first": 4, "pair_a_b": 2}
    assert told["follows"] == {"first": ["pair_a_b"], "pair_a_b": ["both"], "both": ["all"]}
