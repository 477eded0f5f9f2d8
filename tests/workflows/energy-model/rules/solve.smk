def solver_threads(wildcards):
    solver = config_provider("solving", "solver", "options")(wildcards)
    return config_provider("solving", "solver_options", solver, "threads")(wildcards)


rule solve_network:
    input:
        network=resources("{run}/networks/elec_{clusters}.nc"),
    params:
        solving=config_provider("solving"),
        co2limit=config_provider("electricity", "co2limit"),
    output:
        network=RESULTS + "{run}/networks/elec_{clusters}_{opts}.nc",
        config=RESULTS + "{run}/configs/config.{clusters}_{opts}.yaml",
    log:
        solver=RESULTS + "{run}/logs/solver_{clusters}_{opts}.log",
    threads: solver_threads
    resources:
        mem_mb=config_provider("solving", "mem_mb"),
        runtime=config_provider("solving", "runtime"),
    script:
        "../scripts/solve_network.py"


rule plot_costs:
    input:
        expand(
            RESULTS + "{{run}}/networks/elec_{clusters}_{opts}.nc",
            clusters=config["scenario"]["clusters"],
            opts=config["scenario"]["opts"],
        ),
    output:
        RESULTS + "{run}/graphs/costs.svg",
    shell:
        "cat {input} | cksum > {output}"


rule summarise:
    input:
        expand(RESULTS + "{run}/graphs/costs.svg", run=scenarios),
    output:
        RESULTS + "summary.csv",
    run:
        with open(output[0], "w") as summary:
            for path, name in zip(input, scenarios):
                print(name, Path(path).read_text().split()[0], config["costs"]["year"], sep=",", file=summary)
