frame = snakemake.params.samples
with open(snakemake.input[0]) as counts, open(snakemake.output[0], "w") as svg:
    svg.write(f"<svg>{snakemake.wildcards.label} {sorted(frame[snakemake.wildcards.label].astype(str))}</svg>\n")
    svg.write(counts.read())
