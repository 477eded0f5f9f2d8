rule celltype:
    input:
        expand("results/counts/{plate}.txt", plate=PLATES),
    output:
        "results/celltypes/{celltype}.{plate}.part",
    params:
        marker=lambda wildcards: MARKERS[wildcards.celltype],
        weights=np.arange(3) * 0.5,
    shell:
        "echo {wildcards.celltype} {params.marker} {params.weights:q} > {output}"


rule celltype_all:
    input:
        lambda wildcards: expand("results/celltypes/{celltype}.{plate}.part", plate=PLATES, celltype=wildcards.celltype),
    output:
        "results/celltypes/{celltype}.txt",
    wildcard_constraints:
        celltype="[A-Za-z-]+",
    shell:
        "cat {input} | sort -u > {output}"


rule explore:
    input:
        "results/merged.csv",
    output:
        "results/notebook.txt",
    retries: 1  # Jupyter finds its kernel's ports some time before it uses them
    notebook:
        "../notebooks/explore.py.ipynb"


rule summary:
    input:
        template="workflow/report.md.jinja2",
    output:
        "results/report.md",
    params:
        celltypes=config["celltypes"],
    template_engine: "jinja2"
