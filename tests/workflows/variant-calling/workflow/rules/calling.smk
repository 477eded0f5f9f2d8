rule call_variants:
    input:
        bam="results/dedup/{sample}.bam",
        ref="resources/genome.fasta",
    output:
        gvcf=temp("results/called/{sample}.{contig}.g.vcf"),
    log:
        "logs/gatk/haplotypecaller/{sample}.{contig}.log",
    params:
        extra=lambda wildcards: f"{config['params']['gatk']['HaplotypeCaller']} -L {wildcards.contig}",
    threads: lambda wildcards: max(1, CORES // 2)
    conda:
        "../envs/gatk.yaml"
    shell:
        "gatk HaplotypeCaller --threads {threads} {params.extra} -I {input.bam} -O {output.gvcf} > {log} 2>&1"


rule combine_calls:
    input:
        gvcfs=expand("results/called/{sample}.{{contig}}.g.vcf", sample=samples.index),
    output:
        gvcf="results/called/all.{contig}.g.vcf",
    log:
        "logs/gatk/combinegvcfs.{contig}.log",
    params:
        gvcfs=lambda w, input: " ".join(f"-V {gvcf}" for gvcf in input.gvcfs),
    shell:
        "gatk CombineGVCFs {params.gvcfs} -O {output.gvcf} 2> {log}"


rule merge_variants:
    input:
        vcfs=lambda w: expand("results/called/all.{contig}.g.vcf", contig=get_contigs()),
    output:
        vcf="results/genotyped/all.vcf",
    benchmark:
        repeat("benchmarks/merge.tsv", 2)
    shell:
        "sort {input.vcfs} | uniq > {output.vcf}"


rule scatter_regions:
    input:
        "resources/genome.fasta",
    output:
        scatter.calling("results/regions/{scatteritem}.bed"),
    shell:
        "for region in {output}; do basename $region > $region; done"


rule call_region:
    input:
        "results/regions/{scatteritem}.bed",
    output:
        "results/regions/{scatteritem}.calls",
    shell:
        "bcftools call -R {input} -o {output}"


rule gather_regions:
    input:
        gather.calling("results/regions/{scatteritem}.calls"),
    output:
        "results/scattered.txt",
    shell:
        "cat {input} > {output}"
