rule prepare:
    output:
        "prepared/{chip}.bed",
    params:
        mode=config["mode"],
    shell:
        "bedtools make {params.mode} {wildcards.chip} -o {output}"


rule call:
    input:
        "prepared/{chip}.bed",
    output:
        "peaks/{chip}.bed",
    params:
        qvalue=config["qvalue"],
        mode=lambda wildcards: "--broad" if config["mode"] == "broad" else "",
    threads: 1
    shell:
        "macs2 callpeak -t {input} -q {params.qvalue} {params.mode} --threads {threads} -o {output}"
