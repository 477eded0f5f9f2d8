"""The only place that knows Dask's scheduler and dask-jobqueue. All of it runs in the controller's event loop.

`fleet` is the SpecCluster with its scheduler, client and pilots; `pilots` has the job classes that dask-jobqueue's
become; `external` takes workers of somebody else's scheduler for pilots. `offers` completes pools.
"""
