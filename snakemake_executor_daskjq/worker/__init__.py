"""What runs inside a pilot.

`task` is the Dask task of a job; `client` talks to the rule host, a process of its own (`host`) that
starts the job's child, watches it and tells how it ended. They speak `frames` over a socket pair.
"""
