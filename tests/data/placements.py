"""Plans and scans for the tests of preprocessing and its inverse."""

import numpy as np

from unetr.data.plan import Label, Normalisation, Plan, Region
from unetr.image.volume import Volume

IDS = (0, 200, 500, 600)


def make_plan(**changed) -> Plan:
    given = {
        "channels": ("ct",),
        "labels": tuple(Label(id=i, name=str(i)) for i in IDS),
        "spacing_mm": (1.0, 1.0, 1.0),
        "patch_voxels": (16, 16, 16),
        "normalisation": (Normalisation(kind="range", low=0.0, high=1.0),),
    }
    return Plan(**(given | changed))


def scan(array, affine) -> Volume:
    return Volume(np.asarray(array)[None], affine, source="scan.nii.gz")


REGIONS = (
    Region(name="whole", members=(200, 500), paint=200),
    Region(name="core", members=(500,), paint=500),
)
