"""Starts jobs, cold or as forks of a warmed-up process, and watches them. Imports no Dask."""
