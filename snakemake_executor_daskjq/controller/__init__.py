"""The controller: the process that has a run's Dask scheduler, its pilots and its journal.

`protocol` is what Snakemake and the controller say to each other; `process` is the controller's main, `run` what it
has of one run; `driver` turns what happens into events of the core (`policy.core`) and carries out its instructions;
`sweep` is the main of a process that ends what a dead controller has left. The executor imports `protocol` only.
"""
