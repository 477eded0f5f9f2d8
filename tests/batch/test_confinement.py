"""Limits of jobs on pilots of a real Slurm, which does not enforce memory itself here."""

from __future__ import annotations

import re

from ..snakefiles import HUNGRY
from ..workflow import Workflow
from .slurm import SlurmCluster


def test_a_job_out_of_memory_is_retried_with_more_on_the_pilot_that_lives_on(
    workflow: Workflow, slurm: SlurmCluster
) -> None:
    before = {job.job_id for job in slurm.jobs()}
    workflow.write(HUNGRY)
    assert workflow.run("--jobs", "5", "--daskjq-max-pilots", "1") == 0, workflow.output
    ends = [(e["key"], e["end"]) for e in workflow.journal("job_ended")]
    assert [end for key, end in ends if key.startswith("hungry")] == ["out_of_memory", "out_of_memory", "succeeded"]
    assert [end for key, end in ends if key.startswith("neighbour")] == ["succeeded"]
    assert (
        len(re.findall(r"out of memory: it used at least \d+ MB, more than its mem_mb of [24]00", workflow.output)) == 2
    )
    assert len({job.job_id for job in slurm.jobs()} - before) == 1
    assert len({event["pilot"] for event in workflow.journal("job_ended")}) == 1
