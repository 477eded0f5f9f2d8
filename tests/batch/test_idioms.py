"""What one of the small Snakefiles must give on a cluster, and can't show on one machine."""

from __future__ import annotations

from ..idiom import FOLDER
from ..workflow import Workflow


def test_a_job_that_grows_past_every_pool_fails_alone(workflow: Workflow) -> None:
    """A tenth of its amounts, for pilots have 3 GB: its fourth attempt is larger."""
    workflow.write((FOLDER / "grow" / "Snakefile").read_text().replace("000", "00"))
    assert workflow.run("--jobs", "20", "--keep-going") == 1
    assert workflow.read("tries") == "900\n1800\n2700\n"
    assert sorted(path.name for path in workflow.folder.glob("[ab]*.txt")) == [f"b{i}.txt" for i in range(4)]
    ended = [event["end"] for event in workflow.journal("job_ended")]
    assert sorted(ended) == ["failed"] * 3 + ["succeeded"] * 4, workflow.output[-3000:]
    assert workflow.output.count("Rule a asks for mem_mb=3600, but the largest pilot offers 3000.") == 1
    assert "Traceback" not in workflow.output
