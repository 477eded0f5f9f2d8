rule get_genome:
    output:
        protected("resources/genome.fasta"),
    params:
        contigs=config["contigs"],
    shell:
        "for i in $(seq {params.contigs}); do echo \">chr$i\"; echo ACGTACGT; done > {output}"


checkpoint genome_faidx:
    input:
        "resources/genome.fasta",
    output:
        "resources/genome.fasta.fai",
    shell:
        "grep '>' {input} | tr -d '>' | awk '{{ print $1 \"\\t8\" }}' > {output}"


rule map_reads:
    input:
        reads="data/{sample}.fastq",
        ref="resources/genome.fasta",
    output:
        temp("results/mapped/{sample}.sorted.bam"),
    log:
        "logs/bwa_mem/{sample}.log",
    params:
        index=lambda w, input: os.path.splitext(input.ref)[0],
        extra=get_read_group,
    threads: workflow.cores * 0.75
    resources:
        mem_mb=lambda wc, input, threads, attempt: 4000 * threads * attempt,
        runtime="2h",
    benchmark:
        "benchmarks/map/{sample}.tsv"
    shell:
        "(bwa mem -t {threads} {params.extra} {params.index} {input.ref} {input.reads} | samtools sort -o {output} -) 2> {log}"


rule mark_duplicates:
    input:
        "results/mapped/{sample}.sorted.bam",
    output:
        bam=temp("results/dedup/{sample}.bam"),
        metrics="results/qc/dedup/{sample}.metrics.txt",
    log:
        "logs/picard/dedup/{sample}.log",
    retries: 2
    resources:
        mem="3GB",
    shell:
        "picard MarkDuplicates {input} -o {output.bam} > {log} 2>&1; cksum < {output.bam} > {output.metrics}"
