"""What does not work under Snakemake's own remote executors either: the proof is the same end under both."""

from __future__ import annotations

import pytest

from ..workflow import Workflow

OPTIONS = {
    "daskjq": [],
    "cluster-generic": ["--cluster-generic-submit-cmd", "bash", "--seconds-between-status-checks", "1"],
}


@pytest.fixture(params=OPTIONS)
def executor(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def stock(name: str, note: str) -> pytest.MarkDecorator:
    return pytest.mark.feature(name, note=f"as under cluster-generic: {note}", cell="no")


@stock("handover without --cores", "Snakemake takes the number of its cores and finds none")
def test_handover_without_cores(workflow: Workflow, executor: str) -> None:
    workflow.write("""
        rule a:
            output: "x"
            handover: True
            shell: "touch {output}"
    """)
    assert workflow.run("--jobs", "5", *OPTIONS[executor], executor=executor) == 1
    assert "Threads must be given as an int" in workflow.output


@stock("--local-cores", "Snakemake (9.27) reads the option and does nothing with it")
def test_local_cores(workflow: Workflow, executor: str) -> None:
    workflow.write("""
        rule all:
            input: "1", "2"
        rule local:
            output: "{i}"
            localrule: True
            shell: "touch {output}; until [ -e 1 -a -e 2 ]; do sleep 0.05; done"
    """)
    assert workflow.run("--jobs", "5", "--local-cores", "1", *OPTIONS[executor], executor=executor) == 0


@stock("wrapper without an environment.yaml", "Snakemake can't write down what the job used")
def test_wrapper_without_environment(workflow: Workflow, executor: str) -> None:
    workflow.write("""
        rule a:
            output: "x"
            wrapper: "file:wrapper"
    """).write("open(snakemake.output[0], 'w')", "wrapper/wrapper.py")
    assert workflow.run("--jobs", "5", *OPTIONS[executor], executor=executor) == 1
    assert "wrapper/environment.yaml" in workflow.output
