from os import path

from snakemake.shell import shell

input_dirs = sorted({path.dirname(fp) for fp in snakemake.input})
output_name = path.basename(snakemake.output[0])
log = snakemake.log_fmt_shell(stdout=True, stderr=True)
shell("multiqc {input_dirs} -n {output_name} -o {snakemake.output} {snakemake.input} {log}")
