"""What is written for a job's targets is what Snakemake reads, or it is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snakemake.target_jobs import parse_target_jobs_cli_args
from snakemake_interface_executor_plugins.utils import TargetSpec

from snakemake_executor_daskjq.model.target_spec import encode_target_jobs

NAMES = st.from_regex(r"[a-zA-Z_]\w{0,8}", fullmatch=True)
VALUES = st.text(st.sampled_from("ab,='\"\\ :{}$é\n-")) | st.text()
SPECS = st.lists(st.builds(TargetSpec, NAMES, st.dictionaries(NAMES, VALUES, max_size=3)), max_size=3)


def can_be_written(value: str) -> bool:
    return "," not in value and value == value.strip("'\"")


@given(SPECS)
def test_snakemake_reads_what_was_meant_or_it_is_refused(specs: list[TargetSpec]) -> None:
    if all(can_be_written(value) for spec in specs for value in spec.wildcards_dict.values()):
        assert parse_target_jobs_cli_args(encode_target_jobs(specs)) == specs
    else:
        with pytest.raises(ValueError, match="Snakemake has no way to pass the value"):
            encode_target_jobs(specs)


@pytest.mark.parametrize("value", ["a,b", "c,d=e", "'lead", 'trail"', "'both'", '"a,b"'])
def test_a_value_that_no_command_line_can_hold_is_named(value: str) -> None:
    with pytest.raises(ValueError, match=r"rule a: .* of wildcard sample") as refusal:
        encode_target_jobs([TargetSpec("a", {"other": "fine", "sample": value})])
    assert repr(value) in str(refusal.value)


@pytest.mark.parametrize("value", ["a=b", "x'y", 'd"q', "a b", "back\\slash", "p$HOME", "-dash", "", "a:b", "tab\tt"])
def test_other_values_are_written_as_they_are(value: str) -> None:
    spec = TargetSpec("a", {"sample": value})
    assert encode_target_jobs([spec]) == [f"a:sample={value}"]
    assert parse_target_jobs_cli_args(encode_target_jobs([spec])) == [spec]
