"""What runs inside a pilot, which is a Dask worker.

`process` is its main. `jobs` has the Dask task of a job; `contexts` picks what runs it: a launcher, which starts the
job's processes and watches them, or a fork server, which has parsed the Snakefile before. `launcher_client` is the
pilot's end of both. `visits` are those of runs that are guests on workers of others.
"""
