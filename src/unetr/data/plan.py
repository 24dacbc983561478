"""The plan: everything between a scan and the network's input, with the numbers, and the way back.

A plan is made once from a data set's fingerprint, stored in the model file, and is all that
prediction needs to know about the training data.
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

# Readers of images take longer to import than `unetr info` may take in all.
if TYPE_CHECKING:
    import numpy as np

    import unetr.data.placement
    import unetr.image.volume


# Label images that every tool reads hold two bytes a voxel.
HIGHEST_LABEL = 65535

# Interpolation: 0 nearest, 1 linear, 3 cubic.
Order = Literal[0, 1, 3]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Label(_Strict):
    """A structure: its value in label files and its name. The first label is the background."""

    id: int = Field(ge=0, le=HIGHEST_LABEL)
    name: str


class Region(_Strict):
    """A union of labels predicted as one output, such as the whole tumour.

    Attributes:
        members: Native label ids that the region covers.
        paint: Native label id written where the region is predicted; regions are painted in the
            plan's order, so later ones lie on top (nnU-Net's `regions_class_order`).
    """

    name: str
    members: tuple[int, ...]
    paint: int


class Normalisation(_Strict):
    """How one channel's intensities become network input.

    Kinds:
        range: clip to [low, high], then to [0, 1].
        standard: clip to [low, high], minus mean, over std: the data set's own numbers.
        zscore: minus the image's own mean, over its own std, over all or the non-zero voxels.
    """

    kind: Literal["range", "standard", "zscore"]
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    std: float | None = None
    over: Literal["all", "nonzero"] = "all"

    @model_validator(mode="after")
    def _complete(self) -> "Normalisation":
        needed = {"range": ("low", "high"), "standard": ("mean", "std"), "zscore": ()}[self.kind]
        lacking = [name for name in needed if getattr(self, name) is None]
        if lacking:
            raise ValueError(f"normalisation {self.kind} needs {' and '.join(lacking)}")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"normalisation low {self.low:g} is not below high {self.high:g}")
        if self.std is not None and self.std <= 0:
            raise ValueError(f"normalisation std {self.std:g} is not positive")
        return self


class Crop(_Strict):
    """The box of the scan that is looked at at all.

    Kinds: `none`; `nonzero`: where any channel differs from zero; `above`: where the first channel
    exceeds `threshold` (a body in air). The box is grown by `margin_mm`.
    """

    kind: Literal["none", "nonzero", "above"] = "none"
    threshold: float | None = None
    margin_mm: float = Field(default=0.0, ge=0.0)

    @model_validator(mode="after")
    def _complete(self) -> "Crop":
        if self.kind == "above" and self.threshold is None:
            raise ValueError("crop above needs a threshold")
        return self


class Postprocessing(_Strict):
    """What is done to one label of a finished segmentation."""

    label: int
    largest_component: bool = False
    minimum_mm3: float = 0.0
    fill_holes: bool = False


class Plan(_Strict):
    """See the module. Axes are (x, y, z) of the plan's own orientation throughout."""

    channels: tuple[str, ...] = Field(min_length=1)
    labels: tuple[Label, ...] = Field(min_length=2)
    regions: tuple[Region, ...] = ()
    orientation: str = "RAS"
    spacing_mm: tuple[PositiveFloat, PositiveFloat, PositiveFloat]
    patch_voxels: tuple[PositiveInt, PositiveInt, PositiveInt]
    token_voxels: tuple[PositiveInt, PositiveInt, PositiveInt] = (16, 16, 16)
    crop: Crop = Crop()
    normalisation: tuple[Normalisation, ...]
    image_order: tuple[Order, Order, Order] = (1, 1, 1)
    overlap: float = Field(default=0.5, ge=0.0, lt=1.0)
    blend: Literal["gaussian", "constant"] = "gaussian"
    mirror_axes: tuple[Annotated[int, Field(ge=0, le=2)], ...] = ()
    postprocessing: tuple[Postprocessing, ...] = ()
    reasons: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> "Plan":
        if len(self.normalisation) != len(self.channels):
            raise ValueError(
                f"normalisation has {len(self.normalisation)} entries "
                f"for {len(self.channels)} channels"
            )
        ids = [label.id for label in self.labels]
        if len(set(ids)) != len(ids):
            raise ValueError(f"label ids repeat: {ids}")
        if len(set(self.mirror_axes)) != len(self.mirror_axes):
            raise ValueError(f"mirror_axes repeat: {list(self.mirror_axes)}")
        for region in self.regions:
            unknown = sorted({*region.members, region.paint} - set(ids))
            if unknown:
                raise ValueError(
                    f"region {region.name} names labels {unknown}, which are not there"
                )
        letters = "".join(sorted(self.orientation))
        if letters not in {"".join(sorted(a + b + c)) for a in "LR" for b in "AP" for c in "IS"}:
            raise ValueError(f"orientation {self.orientation} is not three of L/R, A/P and I/S")
        return self

    @property
    def out_channels(self) -> int:
        """Network outputs: one per label with the background (softmax), or one per region."""
        return len(self.regions) or len(self.labels)

    @property
    def calibrated(self) -> bool:
        """Whether a value means the same tissue in each scan, as in CT."""
        return any(how.kind in ("range", "standard") for how in self.normalisation)

    def preprocess(
        self, volume: "unetr.image.volume.Volume"
    ) -> "tuple[np.ndarray[Any, Any], unetr.data.placement.Placement]":
        """See `unetr.data.preprocess.preprocess`."""
        from unetr.data.preprocess import preprocess

        return preprocess(self, volume)

    def restore(
        self, scores: Any, placement: "unetr.data.placement.Placement"
    ) -> "np.ndarray[Any, Any]":
        """See `unetr.data.preprocess.restore`."""
        from unetr.data.preprocess import restore

        return restore(self, scores, placement)
