"""Storage providers, and pilots that share less than everything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from ..levels import LEVELS, assert_same, at_level, facts
from ..workflow import Workflow

pytestmark = pytest.mark.needs("rsync")  # of snakemake-storage-plugin-fs
feature = pytest.mark.feature

EVERYTHING = {
    *("persistence", "input-output", "software-deployment", "sources"),
    *("storage-local-copies", "source-cache", "software-deployment-cache"),
}


def stored(workflow: Workflow) -> None:
    """A workflow whose files are in a storage; several jobs read the same one."""
    workflow.write("""
        configfile: "config/config.yaml"
        include: "rules/part.smk"
        rule all:
            input: "sum.txt"
            default_target: True
        rule gather:
            input: expand("{i}.txt", i=range(4))
            output: "sum.txt"
            shell: "cat {input} > {output}"
        rule where:
            input: "in.txt"
            output: "where.txt"
            shell: "pwd > {output}"
    """)
    workflow.write(
        """
        rule part:
            input: "in.txt"
            output: "{i}.txt"
            script: "../scripts/part.py"
        """,
        "rules/part.smk",
    )
    workflow.write(
        """
        with open(snakemake.input[0]) as read, open(snakemake.output[0], "w") as write:
            print(read.read() + snakemake.config["word"] + snakemake.wildcards.i, file=write)
        """,
        "scripts/part.py",
    )
    workflow.write("word: hello", "config/config.yaml")
    workflow.write("from storage, ", "store/in.txt")


def run_stored(
    workflow: Workflow,
    *options: str,
    shared: set[str],
    targets: Sequence[str] = ("all", "where.txt"),
    executor: str = "daskjq",
) -> int:
    store = workflow.folder / "store"
    arguments = [*targets, "--jobs", "20", "--default-storage-provider", "fs", *options]
    arguments += ["--default-storage-prefix", str(store), "--shared-fs-usage", *(sorted(shared) or ["none"])]
    return workflow.run(*arguments, executor=executor)


def verify_stored(workflow: Workflow, *, common: bool) -> None:
    """Everything is in the storage, and only there; jobs ran in the `common` working directory, or elsewhere."""
    store = workflow.folder / "store"
    assert (store / "sum.txt").read_text() == "".join(f"from storage, hello{i}\n" for i in range(4))
    where = (store / "where.txt").read_text().strip()
    assert (where == str(workflow.folder)) is common
    assert common or not Path(where).exists()
    assert not [path for path in workflow.folder.glob("*.txt") if path.name != "output.txt"]
    assert not list((workflow.folder / ".snakemake" / "storage").rglob("daskjq-job-*"))


@feature("storage()")
def test_storage_in_a_rule(workflow: Workflow) -> None:
    workflow.write("""
        storage: provider="fs"
        rule all:
            input: storage("store/out.txt")
        rule a:
            input: storage("store/in.txt")
            output: storage("store/out.txt")
            shell: "cat {input} {input} > {output}"
    """)
    workflow.write("once\n", "store/in.txt")
    assert workflow.run() == 0, workflow.output
    assert workflow.read("store/out.txt") == "once\nonce\n"


@pytest.mark.parametrize(
    ("missing", "common"),
    [
        pytest.param(set(), True, marks=feature("--default-storage-provider")),
        pytest.param(EVERYTHING, False, marks=feature("--shared-fs-usage none")),
        pytest.param(
            {"input-output", "storage-local-copies"},
            True,
            marks=feature("--shared-fs-usage: all but input-output and storage-local-copies"),
        ),
    ],
    ids=lambda value: "-".join(sorted(value)) or "nothing" if isinstance(value, set) else None,
)
def test_what_is_not_shared(workflow: Workflow, missing: set[str], common: bool) -> None:
    stored(workflow)
    assert run_stored(workflow, shared=EVERYTHING - missing) == 0, workflow.output[-3000:]
    verify_stored(workflow, common=common)


@pytest.mark.parametrize(
    ("shared", "levels", "warmest", "why"),
    [
        pytest.param(EVERYTHING, LEVELS, "import", "the Snakefile uses storage providers", id="everything"),
        pytest.param(set(), (LEVELS[0], LEVELS[-1]), "off", "a command has to run before it", id="nothing"),
    ],
)
def test_storage_comes_out_the_same_at_all_levels(
    tmp_path: Path, shared: set[str], levels: Sequence[str], warmest: str, why: str
) -> None:
    found = {}
    for level in levels:
        workflow = at_level(level, tmp_path)
        stored(workflow)
        # One by one: jobs that share copies fetch and remove them as it happens.
        assert run_stored(workflow, "--jobs", "1", shared=shared) == 0, workflow.output[-3000:]
        used = {(event["warm_start"], event["colder_because"]) for event in workflow.journal("job_ended")}
        if level == "direct":
            assert {level for level, _ in used} == {warmest}
            assert all(reasons.endswith(why) for _, reasons in used)
        else:
            assert used == {(level, "") if LEVELS.index(level) <= LEVELS.index(warmest) else (warmest, why)}
        found[level] = facts(workflow)
    assert_same(found)


NOT_ALONE, NOT_LEFT_OUT = "input-output", "storage-local-copies"
"""Where files are shared and local copies are not, Snakemake itself fails: the last test of this module."""


@pytest.mark.parametrize(
    "shared",
    [
        *(
            pytest.param(
                {name}, id=name, marks=feature("--shared-fs-usage: each of its values alone, but input-output")
            )
            for name in sorted(EVERYTHING - {NOT_ALONE})
        ),
        *(
            pytest.param(
                EVERYTHING - {name},
                id=f"all but {name}",
                marks=feature("--shared-fs-usage: all values but one, storage-local-copies excepted"),
            )
            for name in sorted(EVERYTHING - {NOT_LEFT_OUT})
        ),
    ],
)
def test_each_thing_that_may_be_shared(workflow: Workflow, shared: set[str]) -> None:
    stored(workflow)
    assert run_stored(workflow, shared=shared, targets=["0.txt"]) == 0, workflow.output[-3000:]
    assert workflow.read("store/0.txt") == "from storage, hello0\n"


@feature("two pilots with different scratch folders, --shared-fs-usage none")
def test_pilots_with_scratch_folders_of_their_own(workflow: Workflow) -> None:
    workflow.write("""
        rule where:
            output: "{pool}.txt"
            resources: daskjq_pool=lambda wildcards: wildcards.pool
            shell: "pwd > {output}; touch stray"
    """)
    workflow.write(
        f"""
        pools:
          one:
            system: local
            cores: 1
            scratch_folder: {workflow.folder}/scratch-one
          two:
            system: local
            cores: 1
            scratch_folder: {workflow.folder}/scratch-two
    """,
        "pools.yaml",
    )
    store = workflow.folder / "store"
    store.mkdir()
    arguments = ["--daskjq-pools", "pools.yaml"]
    assert run_stored(workflow, *arguments, targets=["one.txt", "two.txt"], shared=set()) == 0, workflow.output[-3000:]
    for name in ("one", "two"):
        assert (store / f"{name}.txt").read_text().startswith(f"{workflow.folder}/scratch-{name}/")
    assert not list(workflow.folder.rglob("stray"))


@feature(
    "--shared-fs-usage: input-output without storage-local-copies",
    note="as under cluster-generic: Snakemake looks for local copies that it has removed",
    cell="no",
)
@pytest.mark.parametrize("executor", ["daskjq", "cluster-generic"])
@pytest.mark.parametrize(
    "shared",
    # Without software-deployment, cluster-generic's jobs fail before that: they fetch storage plugins from PyPI.
    [{NOT_ALONE, "software-deployment"}, EVERYTHING - {NOT_LEFT_OUT}],
    ids=["almost alone", "with all others"],
)
def test_shared_files_without_shared_copies_fail(workflow: Workflow, executor: str, shared: set[str]) -> None:
    workflow.write("""
        rule a:
            output: "x"
            shell: "touch {output}"
    """)
    (workflow.folder / "store").mkdir()
    options = ["--latency-wait", "1"]
    if executor == "cluster-generic":
        options += ["--cluster-generic-submit-cmd", "bash", "--seconds-between-status-checks", "1"]
    assert run_stored(workflow, *options, targets=["x"], shared=shared, executor=executor) == 1
    assert "missing locally" in workflow.output
