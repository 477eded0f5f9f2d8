"""Jobs whose retries ask for more each time, until no pool can hold them."""

from __future__ import annotations

import re

from ..workflow import Workflow

GROWING = """
    rule all:
        input: "a.txt", expand("b{i}.txt", i=range(2)), "c.txt"
    rule a:
        output: "a.txt"
        retries: 2
        resources: mem_mb=lambda wildcards, attempt: 2000 * attempt
        shell: "echo {resources.mem_mb} >> tries; exit 1"
    rule b:
        output: "b{i}.txt"
        shell: "echo b >> runs-of-b; while [ ! -e go ]; do sleep 0.1; done; sleep 1; touch {output}"
    rule late:
        input: "b0.txt"
        output: "c.txt"
        resources: mem_mb=9000
        shell: "touch {output}"
"""


def test_a_retry_that_no_pool_can_hold_fails_alone_and_others_go_on(workflow: Workflow) -> None:
    workflow.write(GROWING)
    process = workflow.start("--jobs", "20", "--keep-going")
    workflow.wait_until(lambda: workflow.output.count("Rule a asks for mem_mb=") == 2, timeout=120)
    (workflow.folder / "go").touch()
    assert process.wait(120) == 1
    assert workflow.read("tries") == "2000\n"
    assert workflow.read("runs-of-b") == "b\nb\n"  # none was ended
    assert (workflow.folder / "b0.txt").exists()
    assert (workflow.folder / "b1.txt").exists()
    for rule, amount in (("a", 4000), ("a", 6000), ("late", 9000)):
        words = rf"Rule {rule} asks for mem_mb={amount}, but the largest pilot offers 3000\. Lower the rule's request"
        assert len(re.findall(words, workflow.output)) == 1
    ends = [(event["key"].rpartition("-")[2], event["end"]) for event in workflow.journal("job_ended")]
    assert ends.count(("1", "succeeded")) == 2
    assert sorted(end for end in ends if end[1] != "succeeded") == [
        ("1", "failed"),
        ("1", "not_started"),
        ("2", "not_started"),
        ("3", "not_started"),
    ]
    assert "2 jobs succeeded, 4 failed" in workflow.output
    assert "Traceback" not in workflow.output


def test_the_first_jobs_of_a_run_are_refused_before_anything_is_submitted(workflow: Workflow) -> None:
    workflow.write("""
        rule all:
            input: "a", "b"
        rule a:
            output: "a"
            resources: mem_mb=9000
            shell: "touch {output}"
        rule b:
            output: "b"
            shell: "touch {output}"
    """)
    assert workflow.run("--jobs", "20", "--keep-going") == 1
    assert "Rule a asks for mem_mb=9000, but the largest pilot offers 3000" in workflow.output
    assert workflow.journal("job_submitted", "pilot_requested") == []
