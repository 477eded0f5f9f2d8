"""What a Snakefile can say."""

from __future__ import annotations

import stat
from collections.abc import Callable

from ..workflow import Workflow
from .case import Case


def submitted(workflow: Workflow, rule: str) -> list[dict[str, object]]:
    """The requests of a rule's jobs, as the journal has them."""
    return [event for event in workflow.journal("job_submitted") if event["rule"] == rule]


def amounts(workflow: Workflow, rule: str) -> list[object]:
    return [event["amounts"] for event in submitted(workflow, rule)]


def gone(*names: str) -> Callable[[Workflow], None]:
    def check(workflow: Workflow) -> None:
        assert [name for name in names if (workflow.folder / name).exists()] == []

    return check


def message(workflow: Workflow) -> None:
    assert "a message with b in it" in workflow.output


def retries(workflow: Workflow) -> None:
    assert [(event["attempt"], event["amounts"]["mem_mb"]) for event in submitted(workflow, "retries")] == [  # type: ignore[index]
        (1, 10),
        (2, 20),
    ]


def resources(workflow: Workflow) -> None:
    assert amounts(workflow, "resources_number") == [{"cores": 2, "mem_mb": 100}]
    assert amounts(workflow, "resources_units") == [{"cores": 1, "mem_mb": 200}]
    assert [event["runtime_s"] for event in submitted(workflow, "resources_units")] == [600]
    assert amounts(workflow, "resources_callable") == [{"cores": 1, "mem_mb": 7}]


def benchmark(workflow: Workflow) -> None:
    assert len(workflow.read("benchmark/times.tsv").splitlines()) == 4
    assert workflow.read("benchmark/runs.txt") == "x\nx\nx\n"


def protected(workflow: Workflow) -> None:
    mode = (workflow.folder / "protected/x.txt").stat().st_mode
    assert not mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)


def localrules(workflow: Workflow) -> None:
    assert submitted(workflow, "local_by_list") == submitted(workflow, "local_by_directive") == []


def group(workflow: Workflow) -> None:
    names = {event["rule"] for event in workflow.journal("job_submitted")}
    assert "group_ab_group_a_group_b" in names
    assert not names & {"group_a", "group_b"}


def queue(workflow: Workflow) -> None:
    assert len(submitted(workflow, "queue_item")) == 3


SHADOW = """
    rule shadow_{name}:
        input: "shadow-in.txt"
        output: "shadow-{mode}/x.txt"
        shadow: "{mode}"
        shell:
            "echo stray > shadow-{mode}-stray.txt; cat {{input}} > {{output}};"
            "case $PWD in */.snakemake/shadow/*) ;; *) exit 1;; esac"
"""

DIRECTIVES = (
    Case(
        "shell",
        """
        rule shell:
            output: "shell/{name}.txt"
            shell: "echo {wildcards.name:q} > {output:q}"
        """,
        expect={"shell/it's $HOME.txt": "it's $HOME\n"},
    ),
    Case(
        "run",
        """
        run_suffix = " and global"
        rule run:
            output: "run/x.txt"
            run:
                with open(output[0], "w") as file:
                    print(rule + run_suffix, file=file)
                shell("echo shell >> {output}")
        """,
        expect={"run/x.txt": "run and global\nshell\n"},
    ),
    Case(
        "script: Python",
        """
        rule script_python:
            output: "script/python.txt"
            params: word="hello"
            script: "scripts/write.py"
        """,
        files={
            "scripts/write.py": """
                with open(snakemake.output[0], "w") as file:
                    print(snakemake.params.word, snakemake.rule, file=file)
            """
        },
        expect={"script/python.txt": "hello script_python\n"},
    ),
    Case(
        "script: bash",
        """
        rule script_bash:
            output: "script/bash.txt"
            params: word="hello"
            script: "scripts/write.sh"
        """,
        files={"scripts/write.sh": 'echo "${snakemake_params[word]}" > "${snakemake_output[0]}"\n'},
        expect={"script/bash.txt": "hello\n"},
    ),
    Case(
        "script: R",
        """
        rule script_r:
            output: "script/r.txt"
            params: word="hello"
            threads: 1
            script: "scripts/write.R"
        """,
        files={"scripts/write.R": "writeLines(paste(snakemake@params$word, snakemake@rule), snakemake@output[[1]])\n"},
        expect={"script/r.txt": "hello script_r\n"},
        needs=["Rscript"],
    ),
    Case(
        "notebook",
        """
        rule notebook:
            output: "notebook/x.txt"
            log: notebook="notebook/executed.ipynb"
            retries: 1  # Jupyter finds its kernel's ports some time before it uses them
            notebook: "notebooks/write.py.ipynb"
        """,
        files={
            "notebooks/write.py.ipynb": """
                {"cells": [{"cell_type": "code", "execution_count": null, "id": "a", "metadata": {}, "outputs": [],
                  "source": ["open(snakemake.output[0], 'w').write('from a notebook')"]}],
                 "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
                  "language_info": {"name": "python"}},
                 "nbformat": 4, "nbformat_minor": 5}
            """
        },
        expect={"notebook/x.txt": "from a notebook"},
        targets=["notebook/executed.ipynb"],
    ),
    Case(
        "wrapper (a local path)",
        """
        rule wrapper:
            output: "wrapper/x.txt"
            wrapper: "file:wrappers/hello"
        """,
        files={
            "wrappers/hello/wrapper.py": """
                from snakemake.shell import shell
                shell("echo wrapped > {snakemake.output}")
            """,
            "wrappers/hello/environment.yaml": "dependencies: [python]\n",
        },
        expect={"wrapper/x.txt": "wrapped\n"},
    ),
    Case(
        "template_engine",
        """
        rule template_jinja2:
            input: "template.jinja2"
            output: "template/jinja2.txt"
            params: name="Ada"
            template_engine: "jinja2"
        rule template_yte:
            input: "template.yte"
            output: "template/yte.txt"
            params: name="Ada"
            template_engine: "yte"
        """,
        files={"template.jinja2": "Dear {{ params.name }}!", "template.yte": "to: ?params.name\n"},
        expect={"template/jinja2.txt": "Dear Ada!", "template/yte.txt": "to: Ada\n"},
    ),
    Case(
        "log",
        """
        rule log:
            output: "log/x.txt"
            log: err="log/err.log", out="log/out.log"
            shell: "echo out > {log.out}; echo err > {log.err}; touch {output}"
        """,
        targets=["log/x.txt"],
        expect={"log/out.log": "out\n", "log/err.log": "err\n"},
    ),
    Case(
        "benchmark (with repeats)",
        """
        rule benchmark:
            output: "benchmark/x.txt"
            benchmark: repeat("benchmark/times.tsv", 3)
            shell: "echo x >> benchmark/runs.txt; touch {output}"
        """,
        targets=["benchmark/x.txt"],
        check=benchmark,
    ),
    Case(
        "message",
        """
        rule message:
            output: "message/b.txt"
            message: "a message with {params.word} in it"
            params: word="b"
            shell: "touch {output}"
        """,
        targets=["message/b.txt"],
        check=message,
    ),
    Case(
        "retries (attempt raises resources)",
        """
        rule retries:
            output: "retries/x.txt"
            retries: 2
            resources: mem_mb=lambda wildcards, attempt: 10 * attempt
            shell: "test {resources.mem_mb} -ge 20 && echo {resources.mem_mb} > {output}"
        """,
        expect={"retries/x.txt": "20\n"},
        check=retries,
    ),
    Case(
        "threads and resources (numbers, strings with units, callables)",
        """
        rule resources_number:
            output: "resources/number.txt"
            threads: 2
            resources: mem_mb=100, io=3
            shell: "echo {threads} {resources.mem_mb} {resources.io} > {output}"
        rule resources_units:
            output: "resources/units.txt"
            resources: mem="200 MB", runtime="10 min"
            shell: "echo {threads} {resources.mem_mb} {resources.runtime} > {output}"
        rule resources_input:
            output: "resources/input.txt"
            shell: "printf 1234567 > {output}"
        rule resources_callable:
            input: "resources/input.txt"
            output: "resources/callable-{n}.txt"
            threads: lambda wildcards: int(wildcards.n)
            resources: mem_mb=lambda wildcards, input: len(open(input[0]).read()), word=lambda wildcards: "x"
            shell: "echo {threads} {resources.mem_mb} {resources.word} > {output}"
        """,
        expect={
            "resources/number.txt": "2 100 3\n",
            "resources/units.txt": "1 200 10\n",
            "resources/callable-1.txt": "1 7 x\n",
        },
        check=resources,
    ),
    *(
        Case(
            f"shadow: {mode}",
            SHADOW.format(mode=mode, name=mode.replace("-", "_")),
            files={"shadow-in.txt": "in\n"},
            expect={f"shadow-{mode}/x.txt": "in\n"},
            check=gone(f"shadow-{mode}-stray.txt"),
        )
        for mode in ("minimal", "copy-minimal", "shallow", "full")
    ),
    Case(
        "params, input functions",
        """
        def params_input(wildcards):
            return "shadow-in.txt"
        rule params:
            input: a=params_input
            output: "params/{word}.txt"
            params:
                "positional",
                upper=lambda wildcards, input, output, threads: wildcards.word.upper() + input.a + output[0],
                many=["a", "b c"],
            shell: "echo {params[0]} {params.upper} {params.many:q} > {output}"
        """,
        files={"shadow-in.txt": "in\n"},
        expect={"params/w.txt": "positional Wshadow-in.txtparams/w.txt a b c\n"},
    ),
    Case(
        "conda, container, envmodules: without --software-deployment-method",
        """
        rule conda:
            output: "deployment/conda.txt"
            conda: "environment.yaml"
            shell: "echo conda > {output}"
        rule container:
            output: "deployment/container.txt"
            container: "docker://debian"
            shell: "echo container > {output}"
        rule envmodules:
            output: "deployment/envmodules.txt"
            envmodules: "bio/x"
            shell: "echo envmodules > {output}"
        """,
        files={"environment.yaml": "channels: [conda-forge]\ndependencies: [python]\n"},
        expect={f"deployment/{name}.txt": f"{name}\n" for name in ("conda", "container", "envmodules")},
        note="they run with the software that there is, as Snakemake has it",
    ),
    Case(
        "localrules, localrule",
        """
        localrules: local_by_list
        rule local_by_list:
            output: "local/list.txt"
            shell: "touch {output}"
        rule local_by_directive:
            output: "local/directive.txt"
            localrule: True
            shell: "touch {output}"
        """,
        targets=["local/list.txt", "local/directive.txt"],
        check=localrules,
    ),
    Case(
        "group",
        """
        rule group_a:
            output: temp("group/a.txt")
            group: "group_ab"
            shell: "echo a > {output}"
        rule group_b:
            input: "group/a.txt"
            output: "group/b.txt"
            group: "group_ab"
            shell: "cat {input} > {output}"
        """,
        expect={"group/b.txt": "a\n"},
        check=group,
    ),
    Case(
        "pipe outputs",
        """
        rule pipe_writer:
            output: pipe("pipe/x.fifo")
            shell: "seq 3 > {output}"
        rule pipe_reader:
            input: "pipe/x.fifo"
            output: "pipe/x.txt"
            shell: "cat {input} > {output}"
        """,
        expect={"pipe/x.txt": "1\n2\n3\n"},
        check=gone("pipe/x.fifo"),
    ),
    Case(
        "service outputs",
        """
        rule service:
            output: service("service/up")
            shell: "touch {output}; exec sleep 200"
        rule service_user:
            input: "service/up"
            output: "service/{i}.txt"
            shell: "test -e {input} && echo served > {output}"
        """,
        expect={"service/1.txt": "served\n", "service/2.txt": "served\n"},
        options=["--latency-wait", "30"],
    ),
    Case(
        "temp",
        """
        rule temp_made:
            output: temp("temp/made.txt")
            shell: "echo made > {output}"
        rule temp_used:
            input: "temp/made.txt"
            output: "temp/used.txt"
            shell: "cat {input} > {output}"
        """,
        expect={"temp/used.txt": "made\n"},
        check=gone("temp/made.txt"),
    ),
    Case(
        "protected",
        """
        rule protected:
            output: protected("protected/x.txt")
            shell: "echo kept > {output}"
        """,
        expect={"protected/x.txt": "kept\n"},
        check=protected,
    ),
    Case(
        "touch, directory, ensure, flag",
        """
        rule touched:
            output: touch("flags/touched")
        rule made_directory:
            output: directory("flags/folder")
            shell: "mkdir -p {output}; echo inside > {output}/file"
        rule ensured:
            output:
                ensure("flags/ensured", non_empty=True),
                ensure("flags/checked", sha256="f2ca1bb6c7e907d06dafe4687e579fce76b37e4e93b7605022da52e6ccc26fd2"),
            shell: "echo something > {output[0]}; echo test > {output[1]}"
        rule flagged:
            output: flag("flags/flagged", "anything")
            shell: "echo flagged > {output}"
        """,
        targets=["flags/touched", "flags/folder", "flags/ensured", "flags/checked"],
        expect={"flags/flagged": "flagged\n"},
    ),
    Case(
        "update",
        """
        rule update:
            input: before_update("update/x.txt") if False else []
            output: update("update/x.txt")
            shell: "echo more >> {output}"
        rule update_all:
            input: "update/x.txt"
            output: "update/done.txt"
            shell: "cp {input} {output}"
        """,
        files={"update/x.txt": "before\n"},
        expect={"update/done.txt": "before\nmore\n"},
        options=["--forcerun", "update"],
    ),
    Case(
        "checkpoint",
        """
        checkpoint checkpoint_split:
            output: directory("checkpoint/parts")
            shell: "mkdir -p {output}; for i in 1 2 3; do echo $i > {output}/$i.part; done"
        rule checkpoint_part:
            input: "checkpoint/parts/{i}.part"
            output: "checkpoint/{i}.done"
            shell: "cat {input} > {output}"
        def checkpoint_parts(wildcards):
            folder = checkpoints.checkpoint_split.get().output[0]
            return sorted(expand("checkpoint/{i}.done", i=glob_wildcards(folder + "/{i}.part").i))
        rule checkpoint_gather:
            input: checkpoint_parts
            output: "checkpoint/all.txt"
            shell: "cat {input} > {output}"
        """,
        expect={"checkpoint/all.txt": "1\n2\n3\n"},
    ),
    Case(
        "scatter/gather, --set-scatter",
        """
        scattergather: parts=2
        rule scatter:
            output: scatter.parts("scatter/{scatteritem}.in")
            shell: "for f in {output}; do echo $f > $f; done"
        rule scatter_item:
            input: "scatter/{scatteritem}.in"
            output: "scatter/{scatteritem}.out"
            shell: "cat {input} > {output}"
        rule gather:
            input: gather.parts("scatter/{scatteritem}.out")
            output: "scatter/count.txt"
            shell: "cat {input} | wc -l > {output}"
        """,
        expect={"scatter/count.txt": "3\n"},
        options=["--set-scatter", "parts=3"],
    ),
    Case(
        "module, use rule",
        """
        module other:
            snakefile: "other/Snakefile"
            config: {"word": "configured"}
            prefix: "module"
        use rule * from other as other_*
        use rule hello from other as other_hello with:
            params: word="changed"
        use rule other_hello as inherited with:
            output: "module/inherited.txt"
        """,
        files={
            "other/Snakefile": """
                rule hello:
                    output: "hello.txt"
                    params: word="original"
                    shell: "echo {params.word} > {output}"
                rule plain:
                    output: "plain.txt"
                    params: word=config["word"]
                    script: "plain.py"
            """,
            "other/plain.py": "open(snakemake.output[0], 'w').write(snakemake.params.word)\n",
        },
        expect={
            "module/hello.txt": "changed\n",
            "module/plain.txt": "configured",
            "module/inherited.txt": "changed\n",
        },
    ),
    Case(
        "include",
        """
        include: "included/rules.smk"
        """,
        files={
            "included/rules.smk": """
                rule included:
                    output: "included/x.txt"
                    script: "write.py"
            """,
            "included/write.py": "open(snakemake.output[0], 'w').write('included')\n",
        },
        expect={"included/x.txt": "included"},
    ),
    Case(
        "envvars",
        """
        envvars: "FEATURE_SECRET"
        rule envvars:
            output: "envvars/x.txt"
            shell: "echo $FEATURE_SECRET > {output}"
        """,
        env={"FEATURE_SECRET": "s3cret"},
        expect={"envvars/x.txt": "s3cret\n"},
    ),
    Case(
        "queue inputs (from_queue)",
        """
        import queue as queue_module, threading
        queue_items = queue_module.Queue()
        queue_end = object()
        def queue_fill():
            for i in range(3):
                queue_items.put(f"queue/{i}.txt")
            queue_items.put(queue_end)
        queue_thread = threading.Thread(target=queue_fill)
        queue_thread.start()
        rule queue_all:
            input: from_queue(queue_items, finish_sentinel=queue_end)
            output: touch("queue/all")
        rule queue_item:
            output: "queue/{i}.txt"
            shell: "echo {wildcards.i} > {output}"
        """,
        targets=["queue/all"],
        expect={},
        check=queue,
    ),
)
