rule count_matrix:
    input:
        expand(
            "results/star/{unit.sample_name}_{unit.unit_name}/ReadsPerGene.out.tab",
            unit=units.itertuples(),
        ),
    output:
        "results/counts/all.tsv",
    log:
        "logs/count-matrix.log",
    params:
        samples=units["sample_name"].tolist(),
        strand=get_strandedness,
    conda:
        "../envs/pandas.yaml"
    script:
        "../scripts/count-matrix.py"


rule pca:
    input:
        "results/counts/all.tsv",
    output:
        report("results/pca.{label}.svg", caption="../report/pca.rst", category="PCA", labels={"variable": "{label}"}),
    params:
        samples=samples,
    log:
        "logs/pca.{label}.log",
    script:
        "../scripts/pca.py"


rule deseq2:
    input:
        "results/counts/all.tsv",
    output:
        table=report("results/diffexp/{contrast}.diffexp.tsv", caption="../report/diffexp.rst", category="Diffexp"),
        ma_plot="results/diffexp/{contrast}.ma-plot.svg",
    params:
        contrast=lambda wildcards: config["diffexp"]["contrasts"][wildcards.contrast],
        total=TOTAL_UNITS,
    log:
        "logs/deseq2/{contrast}.diffexp.log",
    threads: 1 if len(samples) < 100 else 6
    script:
        "../scripts/deseq2.py"
