__author__ = "somebody"

import os
import tempfile

from snakemake.shell import shell

extra = snakemake.params.get("extra", "")
log = snakemake.log_fmt_shell(stdout=True, stderr=True)
with tempfile.TemporaryDirectory() as tmpdir:
    shell(
        "(STAR --runMode alignReads {extra} {snakemake.input.fq1} {snakemake.input.fq2} -o {tmpdir}/Aligned.out;"
        " grep -v tmp {tmpdir}/Aligned.out > {snakemake.output.aln} || true;"
        " head -n 2 {snakemake.input.fq1} > {snakemake.output.reads_per_gene}) {log}"
    )
assert os.path.exists(snakemake.output["aln"])
