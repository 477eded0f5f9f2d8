rule get_genome:
    output:
        "resources/genome.fasta",
    log:
        "logs/get-genome.log",
    params:
        species=lookup(dpath="ref/species", within=config),
        release=lookup(dpath="ref/release", within=config),
    conda:
        "../envs/curl.yaml"
    cache: "omit-software"
    shell:
        "curl-genome {params.species} {params.release} > {output} 2> {log}"


rule star_index:
    input:
        fasta="resources/genome.fasta",
    output:
        directory("resources/star_genome"),
    threads: 4
    log:
        "logs/star_index.log",
    wrapper:
        "v5.8.3/bio/star/index"
