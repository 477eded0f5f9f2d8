from snakemake.shell import shell

n = len(snakemake.input)
assert n == 2, "Input must contain 2 (paired-end) elements."
log = snakemake.log_fmt_shell(stdout=False, stderr=True)
shell(
    "cutadapt {snakemake.params.adapters} {snakemake.params.extra} -o {snakemake.output.fastq1} {snakemake.input}"
    " {log};"
    "cutadapt -o {snakemake.output.fastq2} {snakemake.input[1]};"
    "cksum < {snakemake.output.fastq1} > {snakemake.output.qc}"
)
