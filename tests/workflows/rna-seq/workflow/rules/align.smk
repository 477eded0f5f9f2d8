rule align:
    input:
        fq1="results/trimmed/{sample}_{unit}_R1.fastq",
        fq2="results/trimmed/{sample}_{unit}_R2.fastq",
        index="resources/star_genome",
    output:
        aln=temp("results/star/{sample}_{unit}/Aligned.bam"),
        reads_per_gene="results/star/{sample}_{unit}/ReadsPerGene.out.tab",
    log:
        "logs/star/{sample}_{unit}.log",
    params:
        extra=lambda wc, input: f"{config['params']['star']} --sjdbGTFfile {os.path.basename(input.index)}",
    threads: 24
    resources:
        mem_mb=lambda wildcards, attempt: 32000 * attempt,
        runtime=60,
    wrapper:
        "v5.8.3/bio/star/align"
