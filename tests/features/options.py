"""What the command line can say, as far as many options can share a run."""

from __future__ import annotations

import itertools

from ..workflow import Workflow
from .case import Case
from .directives import amounts, submitted


def default_resources(workflow: Workflow) -> None:
    assert amounts(workflow, "defaults") == [{"cores": 1, "mem_mb": 50}]
    assert [event["runtime_s"] for event in submitted(workflow, "defaults")] == [180]


def set_resources(workflow: Workflow) -> None:
    assert amounts(workflow, "set_resources") == [{"cores": 2, "mem_mb": 321}]


def resources_limit(workflow: Workflow) -> None:
    keys = {event["key"] for event in submitted(workflow, "token")}
    spans = sorted(
        (event["started_at"], event["ended_at"]) for event in workflow.journal("job_ended") if event["key"] in keys
    )
    assert len(spans) == 3
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


def groups(workflow: Workflow) -> None:
    assert [event["rule"] for event in workflow.journal("job_submitted") if "grouped" in str(event["rule"])] == [
        "both_grouped_a_grouped_b"
    ]


def group_components(workflow: Workflow) -> None:
    assert len(submitted(workflow, "components_components")) == 2


def benchmark_extended(workflow: Workflow) -> None:
    assert "params" in workflow.read("extended.tsv").splitlines()[0].split("\t")


def logger(workflow: Workflow) -> None:
    lines = workflow.read("logged.txt").splitlines()
    assert lines.count("JOB_FINISHED") >= 10


def printed(workflow: Workflow) -> None:
    assert "touch many/2.txt" in workflow.output


def verbose(workflow: Workflow) -> None:
    assert "General args" in workflow.output


LOGGER = '''
import logging
from snakemake_interface_logger_plugins.base import LogHandlerBase

class LogHandler(LogHandlerBase):
    """Writes the kind of each event into a file."""

    writes_to_stream = False
    writes_to_file = False
    has_filter = False
    has_formatter = False
    needs_rulegraph = False

    def __post_init__(self):
        logging.Handler.__init__(self)  # older interfaces don't

    def emit(self, record):
        if event := getattr(record, "event", None):
            with open("logged.txt", "a") as file:
                print(event.name, file=file)
'''

OPTIONS = (
    Case(
        "--default-resources",
        """
        rule defaults:
            output: "defaults.txt"
            shell: "echo {resources.mem_mb} {resources.runtime} > {output}"
        """,
        options=["--default-resources", "mem_mb=50", "runtime='3m'"],
        expect={"defaults.txt": "50 3\n"},
        check=default_resources,
    ),
    Case(
        "--set-resources, --set-threads",
        """
        rule set_resources:
            output: "set.txt"
            threads: 1
            resources: mem_mb=10
            shell: "echo {threads} {resources.mem_mb} > {output}"
        """,
        options=["--set-threads", "set_resources=2", "--set-resources", "set_resources:mem_mb=321"],
        expect={"set.txt": "2 321\n"},
        check=set_resources,
    ),
    Case(
        "--resources",
        """
        rule token:
            output: "token/{i}.txt"
            resources: token=1
            shell: "touch {output}"
        """,
        options=["--resources", "token=1", "space=5"],
        targets=[f"token/{i}.txt" for i in range(3)],
        check=resources_limit,
    ),
    Case(
        "--set-resource-scopes",
        """
        rule scoped:
            output: "scoped/{i}.txt"
            group: "scoped"
            resources: space=4
            shell:
                "touch scoped/{wildcards.i}.started;"
                "until [ -e scoped/1.started -a -e scoped/2.started ]; do sleep 0.1; done; touch {output}"
        """,
        # Both groups may use all of the limit: neither waits for the other's end, which would never come.
        options=["--set-resource-scopes", "space=local"],
        targets=["scoped/1.txt", "scoped/2.txt"],
    ),
    Case(
        "--groups",
        """
        rule grouped_a:
            output: "grouped/a.txt"
            shell: "echo a > {output}"
        rule grouped_b:
            input: "grouped/a.txt"
            output: "grouped/b.txt"
            shell: "cat {input} > {output}"
        """,
        options=["--groups", "grouped_a=both", "grouped_b=both"],
        expect={"grouped/b.txt": "a\n"},
        check=groups,
    ),
    Case(
        "--group-components",
        """
        rule components:
            output: "components/{i}.txt"
            group: "components"
            shell: "echo {wildcards.i} > {output}"
        """,
        options=["--group-components", "components=2"],
        expect={f"components/{i}.txt": f"{i}\n" for i in range(4)},
        check=group_components,
    ),
    Case(
        "handover (with --cores)",
        """
        rule handover:
            output: "handover.txt"
            handover: True
            shell: "echo {threads} > {output}"
        """,
        options=["--cores", "2"],
        expect={"handover.txt": "2\n"},
        note="Snakemake gives such a rule all cores, and must be told how many these are",
    ),
    Case(
        "--configfile, --config",
        """
        rule configured:
            output: "configured.txt"
            params: file=config["from_file"], line=config["from_line"]
            shell: "echo {params.file:q} {params.line} > {output}"
        """,
        files={"config.yaml": "from_file: it's a file\n"},
        options=["--configfile", "config.yaml", "--config", "from_line=12"],
        expect={"configured.txt": "it's a file 12\n"},
    ),
    Case(
        "--envvars",
        """
        rule by_option:
            output: "by_option.txt"
            shell: "echo $FEATURE_BY_OPTION > {output}"
        """,
        env={"FEATURE_BY_OPTION": "passed on"},
        options=["--envvars", "FEATURE_BY_OPTION"],
        expect={"by_option.txt": "passed on\n"},
    ),
    Case(
        "--latency-wait",
        """
        rule late:
            output: "late.txt"
            shell: "(sleep 1; echo late > {output}) > late.out 2>&1 &"
        """,
        options=["--latency-wait", "20"],
        expect={"late.txt": "late\n"},
    ),
    Case(
        "--benchmark-extended",
        """
        rule extended:
            output: "extended.txt"
            benchmark: "extended.tsv"
            params: word="x"
            shell: "touch {output}"
        """,
        options=["--benchmark-extended"],
        targets=["extended.txt"],
        check=benchmark_extended,
    ),
    Case(
        "--logger",
        "",
        files={"plugins/snakemake_logger_plugin_features/__init__.py": LOGGER},
        options=["--logger", "features"],
        env={"PYTHONPATH": "plugins"},
        check=logger,
    ),
    Case("--verbose", "", options=["--verbose"], check=verbose),
    Case(
        "--scheduler greedy, --printshellcmds, --jobs unlimited",
        """
        rule many:
            output: "many/{i}.txt"
            shell: "touch {output}"
        """,
        options=["--scheduler", "greedy", "-p", "--jobs", "unlimited"],
        targets=[f"many/{i}.txt" for i in range(3)],
        check=printed,
    ),
)
