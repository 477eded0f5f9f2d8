from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SNAKEFILE = """
localrules: all
rule all:
    input: "a", expand("b{i}", i=range(3)), "c"
rule a:
    output: "a"
    threads: 2
    shell: "x"
rule b:
    output: "b{i}"
    resources: runtime=20, mem_mb=100
    shell: "x"
rule c:
    output: "c"
    threads: 9
    shell: "x"
"""

POOLS = """
defaults: {system: slurm, cores: 4, memory: 4GB}
pools:
  short: {walltime: 00:05:00, queue: short}
  large: {walltime: 01:00:00, cores: 8, constraint: big, rules: [b, c]}
"""


def daskjq(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake_executor_daskjq.cli", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=folder, env={**os.environ, **env}, timeout=60
    )


def test_check_shows_each_script_and_where_rules_go(tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "pools.yaml").write_text(POOLS)
    checked = daskjq(tmp_path, "pools", "check", "pools.yaml", "--default-resources", "mem_mb=50")
    assert checked.returncode == 1, checked.stderr
    for line in (
        "pool short: system slurm, at most 10 pilots with cores=4, mem_mb=4000",
        "    #SBATCH -p short",
        "    #SBATCH -t 00:05:00",
        "    #SBATCH --constraint=big",
        "rule a, 1 job: cores=2, mem_mb=50: runs in short (not large: it is for the rules b, c)",
        "rule all, 1 job: runs beside Snakemake (localrules)",
        "rule b, 3 jobs: cores=1, mem_mb=100, runtime=20 min: runs in large (not short: runtime=1200 seconds "
        "asked, its pilots have 300 seconds)",
    ):
        assert line in checked.stdout.splitlines()
    assert "rule c, 1 job: runs nowhere. Rule c asks for cores=9, but the largest" in checked.stdout
    assert daskjq(tmp_path, "pools", "check", "pools.yaml", "--set-threads", "c=8").returncode == 0
    assert not (tmp_path / "a").exists()


def test_check_tells_of_cores_that_nothing_asks_for(tmp_path: Path) -> None:
    (tmp_path / "pools.yaml").write_text(
        "defaults: {system: sge, cores: 4, memory: 4GB}\npools:\n  bare: {}\n  pe: {parallel_environment: smp}\n"
    )
    checked = daskjq(tmp_path, "pools", "check", "pools.yaml")
    assert checked.returncode == 0, checked.stderr
    assert "    #$ -pe smp 4" in checked.stdout.splitlines()
    assert checked.stderr.startswith("warning: pool bare: its options ask Grid Engine for 1 slot, a pilot has 4 cores:")
    assert checked.stderr.count("warning:") == 1


def test_an_option_of_several_words_that_stands_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    twice = ["--daskjq-system=sge", "--daskjq-directives=-pe smp 4", "--daskjq-directives=-l h_vmem=1G"]
    checked = daskjq(tmp_path, "pools", "check", *twice)
    assert checked.returncode == 1
    assert checked.stderr.startswith("daskjq: --daskjq-directives: found '2 times', allowed is once")


def test_mistakes_are_one_line_and_status_1(tmp_path: Path) -> None:
    (tmp_path / "pools.yaml").write_text("pools:\n  a: {system: x}\n")
    checked = daskjq(tmp_path, "pools", "check", "pools.yaml")
    assert (checked.returncode, checked.stdout) == (1, "")
    assert checked.stderr.startswith(f"daskjq: {tmp_path / 'pools.yaml'}, line 2, pools.a.system: found 'x', allowed ")
    asked = daskjq(tmp_path, "pools", "from-slurm", PATH="/nowhere")
    assert asked.returncode == 1
    assert asked.stderr.startswith("daskjq: The shapes of pilots could not be learned from Slurm: the command scontrol")
    assert daskjq(tmp_path, "pools", "nosuch").returncode == 2
