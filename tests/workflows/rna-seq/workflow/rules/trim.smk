rule cutadapt_pe:
    input:
        get_fq,
    output:
        fastq1="results/trimmed/{sample}_{unit}_R1.fastq",
        fastq2="results/trimmed/{sample}_{unit}_R2.fastq",
        qc="results/trimmed/{sample}_{unit}.paired.qc.txt",
    log:
        "logs/cutadapt/{sample}_{unit}.log",
    params:
        extra=config["params"]["cutadapt-pe"],
        adapters=get_adapters,
    threads: 8
    wrapper:
        "v5.8.3/bio/cutadapt/pe"
