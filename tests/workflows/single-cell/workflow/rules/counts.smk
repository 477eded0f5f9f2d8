rule count:
    input:
        get_counts,
    output:
        "results/counts/{plate}.txt",
    log:
        "logs/cellranger/{plate}.log",
    params:
        random=lambda wildcards: sample(wildcards.plate),
    threads: 8
    resources:
        mem_gb=64,
        mem_mb=64000,
    shell:
        "cellranger count --id={wildcards.plate} --sample={params.random} {input} -o {output} 2> {log}"


rule merge:
    input:
        expand("results/counts/{plate}.txt", plate=PLATES),
    output:
        "results/merged.csv",
    params:
        cells=cells,
        normalization=config["normalization"],
    log:
        "logs/merge.log",
    script:
        "../scripts/merge.py"


rule plot:
    input:
        csv="results/merged.csv",
        plate="results/counts/{plate}.txt",
    output:
        "results/plots/{plate}.txt",
    log:
        "logs/plot/{plate}.log",
    script:
        "../scripts/plot.R"


rule sizes:
    input:
        expand("results/counts/{plate}.txt", plate=PLATES),
    output:
        "results/sizes.txt",
    params:
        plates=PLATES,
    script:
        "../scripts/sizes.sh"
