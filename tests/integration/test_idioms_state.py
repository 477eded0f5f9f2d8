"""Objects that a Snakefile makes while it is parsed, and that its `run:` rules use."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..compared import COLDER
from ..idiom import Idiom, four_different_numbers, pool_that_ends_by_itself

STATE = (
    Idiom("dask_in_rule"),
    Idiom("global_threadpool"),
    Idiom("helper_module_rewritten"),
    Idiom("helper_module_rewritten", env={"PYTHONDONTWRITEBYTECODE": "1"}),
    Idiom("mp_spawn", prepare=pool_that_ends_by_itself),
    Idiom("np_default_rng", check=four_different_numbers),
    Idiom("np_seed"),
    Idiom("openfile"),
    Idiom("params_objects"),
    Idiom("processpool"),
    Idiom("rng_object", check=four_different_numbers),
    Idiom("timer"),
)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("idiom", STATE, ids=str)
def test_it_comes_out_as_under_local(tmp_path: Path, idiom: Idiom) -> None:
    # At the level import, jobs are forked before the Snakefile is parsed: what it makes is their own, as in cold ones.
    idiom.verify(tmp_path, [level for level in COLDER if level != "import"])
