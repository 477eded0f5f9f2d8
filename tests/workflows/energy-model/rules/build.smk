rule build_load:
    input:
        "data/load_{country}.csv",
    output:
        resources("load_{country}.csv"),
    log:
        logs("build_load_{country}.log"),
    conda:
        "../envs/environment.yaml"
    shell:
        "cp {input} {output} 2> {log}; cat $FAKE_PREFIX/made-from >> {output}"


rule base_network:
    input:
        load=expand(resources("load_{country}.csv"), country=sorted(COUNTRIES)),
    params:
        countries=config_provider("countries"),
        costs=config_provider("costs", "year"),
        run_id=lambda wildcards: RUN_ID[:4],
    output:
        base=resources("{run}/base.nc"),
    log:
        logs("{run}/base_network.log"),
    threads: 4
    resources:
        mem_mb=lambda w, attempt: 1500 * attempt,
    conda:
        "../envs/environment.yaml"
    script:
        "../scripts/base_network.py"


rule cluster_network:
    input:
        base=resources("{run}/base.nc"),
    params:
        max_hours=config_provider("electricity", "max_hours"),
        renewables=config_provider("electricity", "renewables", default=["wind", "solar"]),
    output:
        network=resources("{run}/networks/elec_{clusters}.nc"),
    log:
        logs("{run}/cluster_network_{clusters}.log"),
    benchmark:
        "benchmarks/{run}/cluster_network_{clusters}"
    script:
        "../scripts/cluster_network.py"
