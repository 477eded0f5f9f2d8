"""The only place that knows Dask and dask-jobqueue.

All of it runs in the controller's event loop (`controller.run`). `dispatcher` turns policy's decisions
into futures, `roster` into pilots; `fleet` is the SpecCluster with its scheduler, client and pilots; `pilots`
holds the job classes of the batch systems; `batch` asks a batch system about its pilots.
"""
