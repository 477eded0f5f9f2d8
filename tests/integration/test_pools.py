"""Several pools on this machine: which rules go where, from a profile that carries its pools along."""

from __future__ import annotations

from ..workflow import Workflow

SNAKEFILE = """
    rule all:
        input: "a", "b", "c"
    rule a:
        output: "a"
        shell: "touch {output}"
    rule b:
        output: "b"
        resources: slurm_partition="right"
        shell: "touch {output}"
    rule c:
        output: "c"
        resources: daskjq_pool="wide"
        threads: 2
        shell: "touch {output}"
"""

PROFILE = """
    executor: daskjq
    jobs: 10
    daskjq-pools: profile.yaml
    defaults:
      system: local
    pools:
      only_a: {cores: 1, rules: a}
      others: {cores: 1, memory: 1GB}
      wide: {cores: 2, memory: 1GB, rules: ["[!a]*"]}
"""


def test_rules_go_where_their_pool_is_and_a_profile_may_hold_the_pools(workflow: Workflow) -> None:
    workflow.write(SNAKEFILE).write(PROFILE, "profile/profile.yaml")
    assert workflow.run("--profile", "profile") == 0, workflow.output
    pools = {event["key"][0]: event["pilot"].rpartition("-")[0] for event in workflow.journal("job_placed")}
    assert pools["c"] == "wide"
    assert pools["a"] in ("only_a", "others")
    assert pools["b"] in ("others", "wide")
    assert "which no pool gives" not in workflow.output  # of partitions: all pools are this machine
    (started,) = workflow.journal("run_started")
    assert list(started["pools"]) == ["only_a", "others", "wide"]


def test_mistakes_end_the_run_with_one_clear_line(workflow: Workflow) -> None:
    workflow.write(SNAKEFILE).write("pools:\n  a:\n    system: local\n    cores: many\n", "pools.yaml")
    assert workflow.run("--jobs", "1", "--daskjq-pools", "pools.yaml") == 1
    assert "pools.yaml, line 4, pools.a.cores: found 'many', allowed is a whole number from 1." in workflow.output
    workflow.write("pools:\n  x: {system: local, rules: b}\n", "pools.yaml")
    assert workflow.run("a", "--jobs", "1", "--daskjq-pools", "pools.yaml") == 1
    assert "Rule a may use no pool (x: it is for the rules b)" in workflow.output
    assert "Traceback" not in workflow.output
