from __future__ import annotations

import pytest

from ..workflow import Workflow


@pytest.fixture(params=["workflow", "import", "off"])
def any_warmth(request: pytest.FixtureRequest, workflow: Workflow) -> Workflow:
    """A workflow whose jobs are started at each of the three levels: results must not differ."""
    workflow.env["SNAKEMAKE_DASKJQ_WARM_START"] = request.param
    return workflow
