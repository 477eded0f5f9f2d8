"""What a pilot sets aside: no device twice, every job a folder of its own, nothing left."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_daskjq.launcher.processes import JOB_VARIABLE
from snakemake_executor_daskjq.launcher.scratch import Scratch, remove_tree
from snakemake_executor_daskjq.model.machine_view import RECORD
from snakemake_executor_daskjq.pilot.grants import Cores, Gpus, Grants, granted_gpus


@given(st.integers(1, 6), st.lists(st.tuples(st.booleans(), st.integers(1, 4)), max_size=40))
def test_no_cpu_is_given_twice_and_all_come_back(cpus: int, steps: list[tuple[bool, int]]) -> None:
    cores, held = Cores(range(10, 10 + cpus)), list[tuple[int, ...]]()
    for takes, number in steps:
        if takes:
            free = cpus - sum(map(len, held))
            taken = cores.take(number)
            assert len(taken) == (number if number <= free else 0)
            held.append(taken)
        elif held:
            cores.give_back(held.pop(number % len(held)))
        used = [cpu for taken in held for cpu in taken]
        assert len(used) == len(set(used))
    for taken in held:
        cores.give_back(taken)
    assert sorted(cores.take(cpus)) == list(range(10, 10 + cpus))


percents = st.sampled_from([10, 25, 33, 50, 67, 100, 200, 300])


@given(st.integers(1, 4), st.lists(st.tuples(st.booleans(), percents), max_size=40))
def test_no_gpu_is_promised_beyond_what_it_has(devices: int, steps: list[tuple[bool, int]]) -> None:
    gpus, held = Gpus(devices), list[tuple[tuple[int, ...], int]]()
    for takes, percent in steps:
        load = [0] * devices
        for slots, share in held:
            for slot in slots:
                load[slot] += min(share, 100)
        assert all(total <= 100 for total in load)
        if takes and (slots := gpus.take(percent)) is not None:
            assert len(set(slots)) == max(1, percent // 100)
            held.append((slots, percent))
        elif takes:  # refused: no device has that much left, or too few are free
            fits = [total for total in load if total + min(percent, 100) <= 100]
            assert len(fits) < max(1, percent // 100)
        elif held:
            gpus.give_back(*held.pop())
    for slots, percent in held:
        gpus.give_back(slots, percent)
    assert gpus.take(100 * devices) == tuple(range(devices))


def test_the_batch_systems_names_of_gpus_are_kept() -> None:
    both = {"CUDA_VISIBLE_DEVICES": "0,1", "ROCR_VISIBLE_DEVICES": "2,3", "SLURM_JOB_GPUS": "6,7"}
    told = {"CUDA_VISIBLE_DEVICES": ("0", "1"), "ROCR_VISIBLE_DEVICES": ("2", "3")}
    assert granted_gpus(both, 2, amd=False) == told
    assert granted_gpus({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, 1, amd=False) == {}


def test_a_share_that_no_single_gpu_has_left_waits_until_one_has(tmp_path: Path) -> None:
    async def body() -> None:
        grants = Grants(gpus=2, gpu_names={"CUDA_VISIBLE_DEVICES": ("a", "b")}, scratch_folder=str(tmp_path))
        async with grants.hold({"cores": 1}) as none:
            assert none.env["CUDA_VISIBLE_DEVICES"] == "-1"
        async with grants.hold({"gpu_percent": 70}) as first:
            async with grants.hold({"gpu_percent": 70}) as second:
                assert {first.env["CUDA_VISIBLE_DEVICES"], second.env["CUDA_VISIBLE_DEVICES"]} == {"a", "b"}
                third = grants.hold({"gpu_percent": 60})
                waiting = asyncio.create_task(third.__aenter__())
                await asyncio.sleep(0)
                assert not waiting.done()
            assert (await waiting).env["CUDA_VISIBLE_DEVICES"] == second.env["CUDA_VISIBLE_DEVICES"]
            await third.__aexit__(None, None, None)
        async with grants.hold({"gpu_percent": 200}) as both:
            assert both.env["CUDA_VISIBLE_DEVICES"] == "a,b"
        grants.close()

    asyncio.run(body())


def test_what_the_user_chose_stays_but_not_what_an_outer_run_has_set(monkeypatch: pytest.MonkeyPatch) -> None:
    async def environment() -> dict[str, str]:
        grants = Grants()
        try:
            async with grants.hold({"cores": 3}) as grant:
                return {**grant.env, "TMPDIR": grant.tmpdir}
        finally:
            grants.close()

    monkeypatch.setenv("MC_CORES", "7")
    monkeypatch.delenv(JOB_VARIABLE, raising=False)
    assert "MC_CORES" not in asyncio.run(environment())
    monkeypatch.setenv(JOB_VARIABLE, "outer")
    monkeypatch.setenv(RECORD, "/outer")
    env = asyncio.run(environment())
    assert env["MC_CORES"] == "3"
    assert env[RECORD].startswith(env["TMPDIR"])


def test_variables_that_told_the_pilots_cores_tell_a_job_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PBS_JOBID": "12.host1", "NCPUS": "8", "OMP_NUM_THREADS": "8"}.items():
        monkeypatch.setenv(name, value)

    async def body() -> None:
        grants = Grants.of_this_process({"cores": 8}, str(tmp_path))
        async with grants.hold({"cores": 3}) as grant:
            assert (grant.env["NCPUS"], grant.env["OMP_NUM_THREADS"]) == ("3", "3")
        grants.close()
        monkeypatch.delenv("PBS_JOBID")
        grants = Grants.of_this_process({"cores": 8}, str(tmp_path))
        async with grants.hold({"cores": 3}) as grant:  # the user's own, as under Snakemake's local executor
            assert not {"NCPUS", "OMP_NUM_THREADS"} & grant.env.keys()
        grants.close()

    asyncio.run(body())


def test_a_jobs_folder_is_private_and_goes_with_the_job(tmp_path: Path) -> None:
    parent = tmp_path / "scratch"

    async def body() -> None:
        grants = Grants(scratch_folder=str(parent))
        async with grants.hold({"cores": 1}) as left, grants.hold({"cores": 1}) as empty:
            assert left.tmpdir != empty.tmpdir
            assert stat.S_IMODE(os.stat(left.tmpdir).st_mode) == 0o700
            assert stat.S_IMODE(os.stat(os.path.dirname(left.tmpdir)).st_mode) == 0o700
            Path(left.tmpdir, "left").touch()
        async with grants.hold({"cores": 1}) as again:
            assert again.tmpdir == empty.tmpdir
            os.chmod(again.tmpdir, 0o777)
        async with grants.hold({"cores": 1}) as private:
            assert private.tmpdir != again.tmpdir
        while os.path.exists(left.tmpdir):
            await asyncio.sleep(0.01)  # a thread removes it
        grants.close()

    asyncio.run(body())
    assert list(parent.iterdir()) == []


def test_a_tree_is_removed_without_following_links_and_also_where_it_is_read_only(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o755)
    (outside / "kept").touch()
    scratch = Scratch(str(tmp_path / "scratch"))
    tree = Path(scratch.create())
    (tree / "closed" / "inner").mkdir(parents=True)
    (tree / "closed" / "inner" / "file").touch()
    (tree / "link").symlink_to(outside)
    (tree / "closed" / "inner").chmod(0o500)
    (tree / "closed").chmod(0o500)
    assert not scratch.take_back(str(tree))
    remove_tree(str(tree))
    assert not tree.exists()

    replaced = Path(scratch.create())
    replaced.rmdir()
    replaced.symlink_to(tmp_path / "empty", target_is_directory=True)
    (tmp_path / "empty").mkdir(mode=0o700)
    assert not scratch.take_back(str(replaced))
    replaced.unlink()
    replaced.symlink_to(outside)
    scratch.close()
    assert (outside / "kept").exists()
    assert stat.S_IMODE(outside.stat().st_mode) == 0o755
    assert list((tmp_path / "scratch").iterdir()) == []
