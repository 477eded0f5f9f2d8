"""Whatever starts a job reaches the pilot as it was."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_daskjq.model.job_spec import launch_of, spec_of
from snakemake_executor_daskjq.model.request import Command, Grant, Launch

texts = st.text() | st.just("\udcff")  # a file name that is no UTF-8
variables = st.dictionaries(texts, texts, max_size=2)
commands = st.builds(
    Command, env=variables, cwd=texts, argvs=st.tuples(st.tuples(texts)), stale=st.just((("/a", True),))
)
launches = st.builds(
    Launch,
    key=texts,
    common_argv=st.tuples(texts),
    env=variables,
    command=st.none() | commands,
    amounts=st.dictionaries(texts, st.integers(), max_size=2),
    grant=st.just(Grant()),
)


@given(launches)
def test_a_launch_survives_its_way(launch: Launch) -> None:
    spec = spec_of(launch)
    assert launch_of(spec.text) == launch
    assert spec.key == launch.key


def test_what_may_be_secret_is_not_shown() -> None:
    launch = Launch("a", (), (), "/", "/log", "python", env={"TOKEN": "s3cr3t"})
    assert "s3cr3t" in spec_of(launch).text
    assert "s3cr3t" not in repr(spec_of(launch))
