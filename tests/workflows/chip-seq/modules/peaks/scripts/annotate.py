with open(snakemake.input[0]) as peaks, open(snakemake.output[0], "w") as annotated:
    annotated.write(f"{snakemake.rule} {sorted(snakemake.params.config.items())}\n{peaks.read()}")
