"""`python -m snakemake_executor_daskjq.controller FD`."""

from .process import main

main()
