rule select_calls:
    input:
        vcf="results/genotyped/all.vcf",
    output:
        vcf=temp("results/filtered/all.{vartype}.vcf"),
    params:
        extra=lambda w: f"--select-type-to-include {'SNP' if w.vartype == 'snvs' else 'INDEL'}",
    log:
        "logs/gatk/selectvariants/{vartype}.log",
    shell:
        "gatk SelectVariants {params.extra} -V {input.vcf} -O {output.vcf} 2> {log}"


rule hard_filter_calls:
    input:
        vcf="results/filtered/all.{vartype}.vcf",
    output:
        vcf=ensure("results/filtered/all.{vartype}.hardfiltered.vcf", non_empty=True),
    params:
        filters=lambda w: {"snv-hard-filter": config["filtering"]["hard"][w.vartype]},
    log:
        "logs/gatk/variantfiltration/{vartype}.log",
    shell:
        "gatk VariantFiltration -V {input.vcf} --filter {params.filters[snv-hard-filter]:q} -O {output.vcf} 2> {log}"


rule annotate_variants:
    input:
        calls=expand("results/filtered/all.{vartype}.hardfiltered.vcf", vartype=["snvs", "indels"]),
    output:
        calls="results/annotated/all.vcf",
    shell:
        "snpEff {input.calls} -o {output.calls}"


rule vcf_to_tsv:
    input:
        "results/annotated/all.vcf",
    output:
        "results/tables/calls.tsv",
    params:
        samples=samples,
        version=lambda wildcards: len(VERSION) > 0,
    script:
        "../scripts/table.py"
