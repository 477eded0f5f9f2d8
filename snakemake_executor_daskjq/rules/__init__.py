"""For the code of rules that are Dask computations themselves (docs/dask.md)."""

from .client import RuleClient, dask_client
from .shape import ShapeError

__all__ = ["RuleClient", "ShapeError", "dask_client"]
