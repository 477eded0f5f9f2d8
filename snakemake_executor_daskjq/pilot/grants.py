"""What a pilot sets aside for each job: CPUs, GPUs, and a folder for temporary files.

The core's ledger counts amounts; here they become concrete. Everything lives in the pilot's event loop,
because several launchers share the pilot's devices.
"""

from __future__ import annotations

import asyncio
import os
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from ..batch import granted
from ..launcher.processes import JOB_VARIABLE
from ..launcher.scratch import Scratch, remove_tree
from ..model.machine_view import GPU_VARIABLES, NO_GPU, RECORD, variables
from ..model.request import Amounts, Grant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping, Sequence

_NAMES_NOTHING = {"", "-1", "NoDevFiles", "void", "none"}


class Cores:
    """The CPUs that are free to be given to jobs, one for each of their `cores`."""

    def __init__(self, cpus: Sequence[int]) -> None:
        # Where two runs share a machine, they should not both begin with its first CPU.
        start = random.randrange(len(cpus)) if cpus else 0
        self._order = {cpu: rank for rank, cpu in enumerate([*cpus[start:], *cpus[:start]])}
        self._free = list(self._order)

    def take(self, cores: int) -> tuple[int, ...]:
        """That many CPUs; none at all where there are too few (the job is not pinned then)."""
        if cores > len(self._free):
            return ()
        taken, self._free = self._free[:cores], self._free[cores:]
        return tuple(taken)

    def give_back(self, cpus: tuple[int, ...]) -> None:
        self._free = sorted([*self._free, *cpus], key=self._order.__getitem__)


def granted_cpus(visible: Collection[int], cores: int, machine: int) -> list[int]:
    """The CPUs that jobs can be pinned to, or none where it isn't known which ones are the pilot's.

    `visible` are those that the pilot's affinity allows, `cores` is what the pool declares, `machine` how many
    there are. Too few: jobs share them. The whole machine, and more than declared: others use it as well.

    >>> granted_cpus({4, 5}, cores=2, machine=8), granted_cpus(range(8), cores=8, machine=8)
    ([4, 5], [0, 1, 2, 3, 4, 5, 6, 7])
    >>> granted_cpus({0, 1}, cores=4, machine=2), granted_cpus(range(8), cores=2, machine=8)
    ([], [])
    """
    mine = len(visible) == cores or cores < len(visible) < machine
    return sorted(visible) if mine else []


class Gpus:
    """What is free of each GPU, in percent. Shares never span two of them."""

    def __init__(self, devices: int) -> None:
        self._free = [100] * devices

    def take(self, percent: int) -> tuple[int, ...] | None:
        """The positions of the devices; None where no device has that much left, or too few are wholly free."""
        if percent < 100:
            fitting = [i for i, free in enumerate(self._free) if free >= percent]
            chosen = tuple(sorted(fitting, key=self._free.__getitem__)[:1])  # the fullest
        else:
            chosen = tuple(i for i, free in enumerate(self._free) if free == 100)[: percent // 100]
        if len(chosen) < max(1, percent // 100):
            return None
        for i in chosen:
            self._free[i] -= min(percent, 100)
        return chosen

    def give_back(self, devices: tuple[int, ...], percent: int) -> None:
        for i in devices:
            self._free[i] += min(percent, 100)


def granted_gpus(environ: Mapping[str, str], devices: int, amd: bool) -> dict[str, tuple[str, ...]]:
    """How the batch system calls the pilot's GPUs, by the variable that a job is told them in.

    Names may be numbers, UUIDs or MIG instances. Where no variable is set, they are Slurm's record of the job, or
    the first ones of the machine. Empty where fewer are granted than the pool declares: jobs then see them all.

    >>> granted_gpus({"CUDA_VISIBLE_DEVICES": "GPU-5a,MIG-7b"}, devices=2, amd=False)
    {'CUDA_VISIBLE_DEVICES': ('GPU-5a', 'MIG-7b')}
    >>> granted_gpus({"SLURM_JOB_GPUS": "2,3"}, devices=2, amd=True), granted_gpus({}, devices=2, amd=False)
    ({'ROCR_VISIBLE_DEVICES': ('2', '3')}, {'CUDA_VISIBLE_DEVICES': ('0', '1')})
    >>> granted_gpus({"CUDA_VISIBLE_DEVICES": "0"}, devices=2, amd=False)
    {}
    """
    told = {name: _names(environ[name]) for name in GPU_VARIABLES if name in environ}
    if not told:
        names = _names(environ.get("SLURM_JOB_GPUS", "")) or tuple(map(str, range(devices)))
        told = {"ROCR_VISIBLE_DEVICES" if amd else "CUDA_VISIBLE_DEVICES": names}
    return {variable: names for variable, names in told.items() if len(names) >= devices}


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for part in text.split(",") if (name := part.strip()) not in _NAMES_NOTHING)


def has_amd_gpus() -> bool:
    return os.path.exists("/dev/kfd") and not os.path.exists("/dev/nvidiactl")


class Grants:
    """Hands out a pilot's devices and folders. By default it has no devices, and pins nothing."""

    def __init__(
        self,
        cpus: Sequence[int] = (),
        gpus: int = 0,
        gpu_names: Mapping[str, tuple[str, ...]] | None = None,
        scratch_folder: str | None = None,
        core_variables: Sequence[str] = (),
    ) -> None:
        self._cores = Cores(cpus)
        self._gpus = Gpus(gpus)
        self._gpu_count = gpus
        self._gpu_names = gpu_names or {}
        self._gpu_freed = asyncio.Event()
        self._scratch = Scratch(scratch_folder)
        self._core_variables = core_variables
        # By the user; but where this run is part of a job of another one, they are that job's.
        chosen = set() if JOB_VARIABLE in os.environ else variables(0, "").keys() & set(os.environ)
        self._chosen = chosen - {RECORD}

    @classmethod
    def of_this_process(cls, amounts: Amounts, scratch_folder: str | None) -> Grants:
        """What the batch system granted to this process, as far as the pool declares it."""
        cpus = granted_cpus(os.sched_getaffinity(0), amounts.get("cores", 0), os.cpu_count() or 1)
        gpus = amounts.get("gpu_percent", 0) // 100
        names = granted_gpus(os.environ, gpus, has_amd_gpus()) if gpus else None
        return cls(cpus, gpus, names, scratch_folder, granted.core_variables(os.environ))

    @asynccontextmanager
    async def hold(self, amounts: Amounts) -> AsyncIterator[Grant]:
        """A job's grant while it runs. Raises OSError where its folder can't be made.

        Shares of GPUs may lie so that no device has room, although there is enough in all: then it waits here.
        """
        percent = amounts.get("gpu_percent", 0)
        gpus = await self._take_gpus(percent)
        cpus = self._cores.take(amounts.get("cores", 1))
        tmpdir = ""
        try:
            tmpdir = self._scratch.create()
            # The batch system has told the pilot's cores in variables that a job would take for its own.
            cores = dict.fromkeys(self._core_variables, str(amounts.get("cores", 1)))
            view = variables(amounts.get("cores", 1), tmpdir)
            for name in self._chosen:
                del view[name]
            yield Grant(cpus, tmpdir, {**view, "TMPDIR": tmpdir, **cores, **self._gpu_environment(gpus)})
        finally:
            if tmpdir and not self._scratch.take_back(tmpdir):
                asyncio.get_running_loop().run_in_executor(None, remove_tree, tmpdir)
            self._cores.give_back(cpus)
            if gpus:
                self._gpus.give_back(gpus, percent)
                self._gpu_freed.set()

    async def _take_gpus(self, percent: int) -> tuple[int, ...]:
        if percent == 0 or percent > 100 * self._gpu_count:
            return ()
        while (gpus := self._gpus.take(percent)) is None:
            self._gpu_freed.clear()
            await self._gpu_freed.wait()
        return gpus

    def _gpu_environment(self, gpus: tuple[int, ...]) -> dict[str, str]:
        return {variable: ",".join(names[i] for i in gpus) or NO_GPU for variable, names in self._gpu_names.items()}

    def own_folder(self) -> str:
        """The pilot's private folder, which those of its jobs lie in. Raises OSError where it can't be made."""
        return self._scratch.root()

    def close(self) -> None:
        """Remove all folders."""
        self._scratch.close()
