"""What runs inside a pilot.

`pilot` is its process: a Dask worker. `contexts` has the Dask task of a job, and picks the rule host that runs
it: a process of its own that starts the job's child and watches it, cold (`host`) or warm (`warm`). `client`
is the pilot's end of a host; both speak `frames` over a socket pair.
"""
