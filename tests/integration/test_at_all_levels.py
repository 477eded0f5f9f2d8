"""Whole workflows come out the same at every level of warm start."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..levels import LEVELS, assert_same, assert_started_at, at_level, facts
from ..programs import VARIANT_CALLING

RICH = r"""
    import json, os, sys
    configfile: "config.yaml"
    include: "more.smk"
    envvars: "TOKEN"
    localrules: first
    GREETING = config["greeting"]
    SAMPLES = glob_wildcards("data/{sample}.txt").sample

    wildcard_constraints:
        sample="[a-z]+"

    rule all:
        input:
            expand("shell/{sample}", sample=sorted(SAMPLES)), "run", "script", "bash", "grouped2", "checked",
            "shadow", "benchmark", "env", "touched", "included", "dir/file", "many"

    rule first:
        output: "first"
        shell: "echo first > {output}"

    rule sh:
        input: "data/{sample}.txt", first="first"
        output: "shell/{sample}"
        params: length=lambda wildcards: len(wildcards.sample)
        threads: 2
        resources: mem_mb=lambda wildcards, threads: 100 * threads
        log: "logs/{sample}.log"
        shell: "(cat {input[0]}; echo {wildcards.sample} {params.length} {threads} {resources.mem_mb} {GREETING})"
               " > {output} 2> {log}"

    rule run:
        output: "run"
        run:
            with open(output[0], "w") as file:
                json.dump({"cwd": os.path.basename(os.getcwd()), "rule": rule, "greeting": GREETING}, file)
            shell("echo from shell >> {output}")

    rule script:
        output: "script"
        params: value=3
        script: "script.py"

    rule bash:
        output: "bash"
        script: "script.sh"

    rule g1:
        output: "grouped1"
        group: "together"
        shell: "echo 1 > {output}"

    rule g2:
        input: "grouped1"
        output: "grouped2"
        group: "together"
        shell: "cat {input} > {output}; echo 2 >> {output}"

    checkpoint split:
        output: directory("parts")
        shell: "mkdir {output}; for i in 1 2 3; do echo $i > {output}/$i; done"

    def parts(wildcards):
        folder = checkpoints.split.get().output[0]
        return sorted(os.path.join(folder, name) for name in os.listdir(folder))

    rule checked:
        input: parts
        output: "checked"
        shell: "cat {input} > {output}"

    rule shadow:
        output: "shadow"
        shadow: "minimal"
        shell: "touch left-behind; echo shadowed > {output}"

    rule benchmark:
        output: "benchmark"
        benchmark: "benchmark.tsv"
        shell: "echo measured > {output}"

    rule env:
        output: "env"
        shell: "printf '%s\n' \"$TOKEN\" \"$PWD\" $(umask) > {output}; ulimit -a >> {output}; "
               "grep -E 'SigBlk|SigIgn' /proc/self/status >> {output}; ls /proc/self/fd >> {output}"

    rule touched:
        output: touch("touched")

    rule directory:
        output: "dir/file"
        shell: "cat > {output}; echo stdin was empty >> {output}"

    rule many:
        input: expand("temp/{i}", i=range(4))
        output: "many"
        shell: "cat {input} > {output}"

    rule temporary:
        output: temp("temp/{i}")
        shell: "echo {wildcards.i} > {output}"
"""
MORE = """
    rule included:
        output: "included"
        shell: "echo {config[greeting]} from an included file > {output}"
"""


def test_everything_comes_out_the_same_at_all_levels(tmp_path: Path) -> None:
    found = {}
    for level in LEVELS:
        workflow = at_level(level, tmp_path)
        workflow.env["TOKEN"] = "secret"
        workflow.write(RICH).write(MORE, "more.smk").write("greeting: hello\n", "config.yaml")
        workflow.write(
            "import sys\nopen(snakemake.output[0], 'w').write(f'{snakemake.params.value} {len(sys.argv)}')", "script.py"
        )
        workflow.write("echo ${snakemake_output[0]} > ${snakemake_output[0]}", "script.sh")
        for sample in ("one", "two"):
            workflow.write(f"{sample}\n", f"data/{sample}.txt")
        assert workflow.run("--jobs", "100", "--daskjq-cores", "4") == 0, workflow.output[-3000:]
        assert workflow.leftovers() == []
        found[level] = facts(workflow)
        ended = workflow.journal("job_ended")
        assert_started_at(level, ended, but=("run-", "together_"))
    assert len(found["off"]) > 20
    assert_same(found)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("quickstart", ("--config", "pieces=6")),
        pytest.param(
            "variant-calling",
            ("--config", "samples=2", "chromosomes=1", "regions_per_chromosome=1"),
            marks=pytest.mark.needs(*VARIANT_CALLING),
        ),
    ],
)
def test_the_examples_come_out_the_same_at_all_levels(tmp_path: Path, name: str, options: tuple[str, ...]) -> None:
    snakefile = Path(__file__).parents[2] / "workflows" / name / "Snakefile"
    found, logs = {}, {}
    for level in LEVELS:
        workflow = at_level(level, tmp_path)
        assert workflow.run("--jobs", "100", "--snakefile", str(snakefile), *options) == 0, workflow.output[-3000:]
        assert_started_at(level, workflow.journal("job_ended"), but=("report_",))
        results = [workflow.folder / "pi.txt"] if name == "quickstart" else sorted(workflow.folder.glob("results/*"))
        found[level] = {path.name: path.read_bytes() for path in results}
        logs[level] = sorted(path.name for path in workflow.run_folders[-1].glob("logs/*/*.log"))
    assert found["off"]
    assert all(found[level] == found["off"] for level in LEVELS)
    assert all(logs[level] == logs["off"] for level in LEVELS)
