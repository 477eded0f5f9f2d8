"""What Slurm keeps of a pilot's job script."""

from __future__ import annotations

from ..workflow import Workflow
from .slurm import SlurmCluster


def test_a_job_script_holds_no_secret(workflow: Workflow, slurm: SlurmCluster) -> None:
    workflow.env["MY_TOKEN"] = "s3cr3t"
    workflow.write("""
        envvars: "MY_TOKEN"
        rule a:
            output: "x"
            shell: "touch up; while [ ! -e go ]; do sleep 0.05; done; touch {output}"
    """)
    process = workflow.start("--jobs", "1")
    workflow.wait_for("up")
    script = slurm.run("scontrol", "write", "batch_script", slurm.queued_or_running()[0].job_id, "-")
    key = (workflow.run_folders[-1] / "tls" / "key.pem").read_text().splitlines()[1]
    (workflow.folder / "go").touch()
    assert process.wait(60) == 0
    assert "pilot.process" in script
    assert "s3cr3t" not in script
    assert key not in script
