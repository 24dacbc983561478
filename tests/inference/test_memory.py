"""Estimates of memory grow with what they are of."""

import numpy as np
import pytest

from unetr.checkpoint.header import Header, NetworkConfig
from unetr.data.placement import place
from unetr.data.plan import Label, Normalisation, Plan
from unetr.image.volume import Volume
from unetr.inference.memory import (
    MOST_PLANES,
    Need,
    attention_gb,
    need,
    reading_refusal,
    refusal,
    window_gb,
    windows_at_once,
)


def header(feature_size: int = 16) -> Header:
    plan = Plan(
        channels=("CT",),
        labels=tuple(Label(id=i, name=str(i)) for i in range(14)),
        spacing_mm=(2.0, 2.0, 2.0),
        patch_voxels=(96, 96, 96),
        normalisation=(Normalisation(kind="zscore"),),
    )
    network = NetworkConfig(name="unetr", config={"feature_size": feature_size})
    return Header(version=1, network=network, plan=plan)


def needed(size: tuple[int, int, int], **changed: object) -> Need:
    # One voxel repeated: only the shape counts.
    volume = Volume(np.broadcast_to(np.int16(0), (1, *size)), np.eye(4), source="scan")
    asked = {
        "channels": 14,
        "computing_gb": window_gb(header()),
        "slab_on_host": True,
        "probabilities": False,
        "maps": 0,
        "postprocessing": False,
    }
    return need(place(header().plan, volume), header().plan, **(asked | changed))


def test_a_scan_twice_as_long_needs_no_second_slab():
    short, long = needed((512, 512, 200)), needed((1024, 512, 200))
    voxels = 512 * 512 * 200
    # Two bytes of labels, and four of the input on a grid of an eighth.
    grown = (2 + 4 / 8) * voxels / 1e9
    assert long.windows - short.windows == pytest.approx(grown)
    assert long.plane == short.plane


def test_what_is_kept_is_counted():
    size = (256, 256, 256)
    plain, voxels = needed(size), 256**3
    kept = needed(size, probabilities=True)
    assert kept.windows - plain.windows == pytest.approx(2 * 14 * voxels / 1e9)
    mapped = needed(size, maps=2)
    assert mapped.finishing - plain.finishing == pytest.approx(2 * 8 * (1 + 1 / 8) * voxels / 1e9)
    processed = needed(size, postprocessing=True)
    assert processed.finishing - plain.finishing == pytest.approx(10 * voxels / 1e9)
    elsewhere = needed(size, computing_gb=0.0, slab_on_host=False)
    assert plain.windows - elsewhere.windows > window_gb(header())


def test_attention_is_two_matrices_of_each_head():
    # 6 x 6 x 6 tokens of 16, twelve heads; a matrix and its softmax.
    assert attention_gb(header()) == pytest.approx(2 * 12 * 216**2 * 4 / 1e9)


def test_a_scan_too_large_to_read_says_what_would_do():
    told = reading_refusal(3.0, 1.0, limit_gb=2.0)
    assert "give --max-memory 4.0 or more" in told
    # Small as the scan is, the process itself leaves nothing.
    told = reading_refusal(0.01, -0.5, limit_gb=0.001)
    assert told.startswith("501 MB are held without a scan, and its voxels take 10 MB of the 1 MB")
    assert "give --max-memory 0.6 or more" in told
    told = reading_refusal(3.0, 1.0, None)
    assert told == (
        "its voxels take 3 GB, but 1 GB of memory are free; free some, or cut the scan into parts"
    )


def test_planes_follow_the_memory():
    found = Need(preparing=1.0, windows=2.0, plane=0.1, finishing=1.5)
    assert found.least == pytest.approx(2.1)
    assert [found.planes(gb) for gb in (2.0, 2.15, 2.55, 100.0)] == [1, 1, 5, MOST_PLANES]


def test_windows_at_once_follow_the_memory():
    one = window_gb(header())
    assert windows_at_once(header(), 2, 8.01 * one) == 2
    assert windows_at_once(header(), 2, 7.9 * one) == 1
    assert windows_at_once(header(), 2, 0.0) == 1
    assert window_gb(header(32)) > 1.5 * one


def test_a_refusal_names_what_would_do():
    volume = Volume(np.zeros((1, 4, 5, 6)), np.eye(4), source="scan.nii.gz")
    placement = place(header().plan, volume)
    found = Need(preparing=3.05, windows=1.0, plane=0.1, finishing=1.0)
    told = refusal(found, 1.0, placement, limit_gb=2.0)
    assert told.startswith("scan.nii.gz: 4 x 5 x 6 voxels need 4.1 GB in all, not 2; ")
    assert "give --max-memory 4.1 or more" in told
    assert "3.0 GB, but 1.0 GB of memory are free" in refusal(found, 1.0, placement, None)


def test_preparing_holds_the_crop_and_what_is_made_of_it():
    same = Volume(np.broadcast_to(np.int16(0), (1, 64, 64, 64)), np.diag([2.0, 2.0, 2.0, 1.0]))
    fine = Volume(np.broadcast_to(np.int16(0), (1, 64, 64, 64)), np.eye(4))
    plan = header().plan
    options = {"channels": 14, "computing_gb": 0.0, "slab_on_host": True, "probabilities": False}
    held = [
        need(place(plan, volume), plan, maps=0, postprocessing=False, **options).preparing
        for volume in (same, fine)
    ]
    # The crop and a copy; the crop, a half and a quarter of it.
    assert held == pytest.approx([4 * 64**3 * 2 / 1e9, 4 * 64**3 * 1.75 / 1e9])


def test_the_padded_copy_of_a_thin_scan_is_counted():
    """At 2 mm it has 700 x 700 x 20 voxels, of which 700 x 700 x 96 are made."""
    thin, thick = needed((1400, 1400, 40)), needed((1400, 1400, 192))
    labels, prepared = 2 * (192 - 40) * 1400**2, 4 * (96 - 20) * 700**2
    between = 6 * 4 * 14 * (192 - 40) * 1400
    padded = 4 * 96 * 700**2
    grown = (labels + prepared + between - padded) / 1e9
    assert thick.windows - thin.windows == pytest.approx(grown)
