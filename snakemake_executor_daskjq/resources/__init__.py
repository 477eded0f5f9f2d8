"""Snakemake's resources, and the Slurm executor's -> what a job asks of a pilot."""
