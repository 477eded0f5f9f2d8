"""Folders that a job has for itself where it shares no file system, or no copies of stored files, with others."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from dataclasses import replace
from typing import TYPE_CHECKING

from ..launcher.scratch import remove_tree

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..model.request import Launch


@contextlib.asynccontextmanager
async def own(launch: Launch, tmpdir: str) -> AsyncIterator[Launch]:
    """`launch` with the folders that it asks for, in the job's `tmpdir` or where its storage prefix says.

    Copies of stored files need a folder for each job: Snakemake removes them at the job's end, whoever else on
    this host may be reading them. Raises OSError where a folder can't be made.
    """
    if not launch.cwd and launch.command is None:  # a command says where it works
        launch = replace(launch, cwd=os.path.join(tmpdir, "work"))
        os.mkdir(launch.cwd)
    if not launch.storage_prefix:
        yield launch
        return
    prefix = os.path.join(launch.cwd, os.path.expandvars(launch.storage_prefix))
    os.makedirs(prefix, exist_ok=True)
    folder = tempfile.mkdtemp(prefix="daskjq-job-", dir=prefix)
    try:
        yield replace(launch, job_argv=(*launch.job_argv, "--local-storage-prefix", folder))
    finally:
        await asyncio.to_thread(remove_tree, folder)
