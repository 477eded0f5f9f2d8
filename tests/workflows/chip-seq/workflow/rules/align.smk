rule bowtie2:
    input:
        "data/{sample}.fq",
    output:
        bam="results/mapped/{sample}.bam",
        idx=touch("results/mapped/{sample}.bam.bai"),
    log:
        "logs/bowtie2/{sample}.log",
    threads: 8
    resources:
        mem_mb=16000,
        disk_mb=100000,
    shell:
        "bowtie2 -p {threads} {input} -o {output.bam} 2> {log}"


rule bigwig:
    input:
        "results/mapped/{sample}.bam",
    output:
        "results/bigwig/{sample}.bw",
    params:
        lambda wildcards, threads, resources: f"--cores {threads} --mem {resources.mem_mb}",
    resources:
        mem_mb=1000,
    shell:
        "bedtools genomecov {params[0]} -ibam {input} -o {output}"
