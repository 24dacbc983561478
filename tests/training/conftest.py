"""What the tests of training share."""

from collections.abc import Callable

import pytest

from unetr.data.plan import Plan
from unetr.training.loop import Job

from .tiny import tiny_job, tiny_plan


@pytest.fixture
def plan() -> Plan:
    return tiny_plan()


@pytest.fixture
def make_job(tmp_path) -> Callable[..., Job]:
    """Jobs in folders of that name."""
    return lambda run="run", **keywords: tiny_job(tmp_path / run, **keywords)
