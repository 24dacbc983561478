"""What a predictor does not take, and calls at the same time."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from unetr.errors import InputError
from unetr.image.volume import Volume
from unetr.inference.predictor import Predictor


@pytest.mark.parametrize("value", [np.nan, -np.inf, -1.7e308])
def test_voxels_that_are_no_numbers_are_refused(octants, value):
    """In one window they would spread to all that it overlaps, and become background."""
    array = np.zeros((1, 20, 20, 20))
    array[0, 3, 4, 5] = value
    predictor = Predictor(octants, engine="torch", precision="fp32", device="cpu")
    with pytest.raises(InputError, match=r"scan: voxels: some are NaN, infinite or beyond float32"):
        predictor(Volume(array, np.eye(4), source="scan"))


def test_threads_wait_for_each_other(octants):
    """An engine has one buffer: scans at the same time would get each other's scores."""
    predictor = Predictor(octants, engine="torch", precision="fp32", device="cpu")
    inside, most = 0, 0

    def on_window(done: int, total: int) -> None:
        nonlocal inside, most
        most = max(most, inside)

    whole = predictor._predicted

    def counted(*asked):
        nonlocal inside
        inside += 1
        try:
            return whole(*asked)
        finally:
            inside -= 1

    predictor._predicted = counted
    scan = Volume(np.zeros((1, 20, 20, 20), np.float32), np.eye(4))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: predictor(scan, on_window), range(4)))
    assert most == 1
