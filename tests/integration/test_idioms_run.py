"""Options, configuration, resources and the course of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..idiom import Idiom, fails_once_and_its_pilot_lives_on, printed_nowhere_else, values_as_given

RUN = (
    Idiom("bigmem"),
    Idiom("config_file_cli"),
    Idiom("config_quotes", check=values_as_given),
    # Under `local` one of its three jobs fails (see the check), and the others must run, whichever comes first.
    Idiom("config_quotes", options=["--keep-going", "--config", 'pat=it\'s "q" \\d'], check=values_as_given),
    Idiom("cores_expr"),
    Idiom("cores_expr", options=["--cores", "8"]),
    Idiom("cores_of_the_run"),
    Idiom("failing_while_stale", besides=fails_once_and_its_pilot_lives_on),
    Idiom("grow"),
    Idiom("print", besides=printed_nowhere_else),
)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("idiom", RUN, ids=str)
def test_it_comes_out_as_under_local(tmp_path: Path, idiom: Idiom) -> None:
    idiom.verify(tmp_path)
