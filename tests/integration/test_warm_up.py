"""A launcher that does not get ready: whole runs."""

from __future__ import annotations

import os

from ..workflow import Workflow


def test_a_parse_that_hangs_in_the_pilot_costs_its_time_limit_and_is_told(workflow: Workflow) -> None:
    os.mkfifo(workflow.folder / "lock")
    workflow.write("""
        import os, sys
        in_pilot = "launcher.fork_server" in " ".join(sys.orig_argv)
        if in_pilot and "DASKJQ_JOB" not in os.environ:  # in the fork server, and not in a job, which is its child
            open("lock").read()
        rule all:
            input: expand("out/{i}", i=range(20))
        rule a:
            output: "out/{i}"
            shell: "touch {output}"
    """)
    options = ("--daskjq-warm-start", "workflow", "--daskjq-warm-up-timeout", "15s")
    assert workflow.run("--jobs", "20", *options) == 0, workflow.output[-3000:]
    why = "the Snakefile was not parsed within 15 s (--daskjq-warm-up-timeout)"
    ended = workflow.journal("job_ended")
    assert {(event["warm_start"], event["colder_because"]) for event in ended} == {("import", why)}
    assert f"20 jobs of rule a parsed the Snakefile anew: {why}." in workflow.output
