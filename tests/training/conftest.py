"""What the tests of training share."""

from collections.abc import Callable
from pathlib import Path

import pytest

from unetr.data.plan import Plan
from unetr.training.loop import Job
from unetr.training.order import Order

from .heard import run
from .phantoms import FAST, write_phantoms
from .tiny import tiny_job, tiny_plan


@pytest.fixture
def plan() -> Plan:
    return tiny_plan()


@pytest.fixture
def make_job(tmp_path) -> Callable[..., Job]:
    """Jobs in folders of that name."""
    return lambda run="run", **keywords: tiny_job(tmp_path / run, **keywords)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A data set of phantoms."""
    return write_phantoms(tmp_path_factory.mktemp("phantoms") / "data")


@pytest.fixture
def order(data, tmp_path) -> Order:
    """A run of four small steps."""
    return Order(data, tmp_path / "run", settings=FAST, max_steps=4)


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory) -> tuple[Path, list[str]]:
    """A finished run and what was said."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    lines = run(Order(data, folder, settings=FAST, max_steps=4, fold=1))
    return folder, lines
