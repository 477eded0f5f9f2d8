"""What a Snakefile and the command line can say, on the local system."""

from __future__ import annotations

import pytest

from ..workflow import Workflow
from .case import Case, parametrize, run_together, selected
from .deployment import DEPLOYMENT
from .directives import DIRECTIVES
from .options import OPTIONS


@pytest.fixture(scope="module")
def directives(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    workflow = Workflow(tmp_path_factory.mktemp("directives"))
    run_together(selected(request, DIRECTIVES), workflow)
    return workflow


@pytest.fixture(scope="module")
def options(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    workflow = Workflow(tmp_path_factory.mktemp("options"))
    run_together(selected(request, OPTIONS), workflow)
    return workflow


@pytest.fixture(scope="module")
def deployment(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    workflow = Workflow(tmp_path_factory.mktemp("deployment"))
    run_together(selected(request, DEPLOYMENT), workflow)
    return workflow


@parametrize(DIRECTIVES)
def test_directive(case: Case, directives: Workflow) -> None:
    case.verify(directives)


@parametrize(OPTIONS)
def test_option(case: Case, options: Workflow) -> None:
    case.verify(options)


@parametrize(DEPLOYMENT)
def test_deployment(case: Case, deployment: Workflow) -> None:
    case.verify(deployment)
