from snakemake.shell import shell

log = snakemake.log_fmt_shell(stdout=True, stderr=True)
shell("mkdir -p {snakemake.output}; STAR --genome {snakemake.input.fasta} -o {snakemake.output}/SA {log}")
