rule rseqc_stat:
    input:
        "results/star/{sample}_{unit}/Aligned.bam",
    output:
        "results/qc/rseqc/{sample}_{unit}.stats.txt",
    priority: 1
    log:
        "logs/rseqc/rseqc_stat/{sample}_{unit}.log",
    conda:
        "../envs/rseqc.yaml"
    shell:
        "rseqc stat -i {input} > {output} 2> {log}"


rule rseqc_readdup:
    input:
        "results/star/{sample}_{unit}/Aligned.bam",
    output:
        "results/qc/rseqc/{sample}_{unit}.readdup.xls",
    log:
        "logs/rseqc/rseqc_readdup/{sample}_{unit}.log",
    params:
        prefix=lambda w, output: output[0].replace(".readdup.xls", ""),
    conda:
        "../envs/rseqc.yaml"
    shell:
        "(rseqc duplication -i {input} -p {params.prefix} -o {output}) > {log} 2>&1"


rule multiqc:
    input:
        expand("results/qc/rseqc/{unit.sample_name}_{unit.unit_name}.stats.txt", unit=units.itertuples()),
        expand("results/qc/rseqc/{unit.sample_name}_{unit.unit_name}.readdup.xls", unit=units.itertuples()),
    output:
        report("results/qc/multiqc_report.html", category="QC", caption="../report/multiqc.rst"),
    log:
        "logs/multiqc.log",
    wrapper:
        "v5.8.3/bio/multiqc"
