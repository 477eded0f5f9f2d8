"""What one of the small Snakefiles must give on a cluster, and can't show on one machine."""

from __future__ import annotations

from ..idiom import FOLDER
from ..workflow import Workflow


def test_a_job_that_grows_past_every_pool_fails_alone(workflow: Workflow) -> None:
    """A tenth of its amounts, for pilots have 3 GB: its fourth attempt is larger. The others still run then.

    These leave it one of a pilot's four cores, for they wait for it.
    """
    snakefile = (FOLDER / "grow" / "Snakefile").read_text().replace("000", "00").replace("range(4)", "range(3)")
    assert snakefile.count("sleep 1.") == 1
    third = "until [ $(wc -l < tries || echo 0) -ge 3 ]; do sleep 0.1; done; sleep 4."
    workflow.write(snakefile.replace("sleep 1.", third))
    assert workflow.run("--jobs", "20", "--keep-going") == 1
    assert workflow.read("tries") == "900\n1800\n2700\n"
    assert sorted(path.name for path in workflow.folder.glob("[ab]*.txt")) == [f"b{i}.txt" for i in range(3)]
    ended = [event["end"] for event in workflow.journal("job_ended")]
    assert sorted(ended) == ["failed"] * 3 + ["not_started"] + ["succeeded"] * 3, workflow.output[-3000:]
    assert workflow.output.count("Rule a asks for mem_mb=3600, but the largest pilot offers 3000.") == 1
    assert "Traceback" not in workflow.output
