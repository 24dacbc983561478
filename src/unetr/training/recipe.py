"""Recipes: every number of a training run."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from unetr.data.plan import Crop, Order
from unetr.training import bounds

Triple = tuple[bounds.Positive, bounds.Positive, bounds.Positive]
Size = tuple[bounds.Voxels, bounds.Voxels, bounds.Voxels]
NetworkName = Literal["unetr", "unetr-modern", "dynunet", "segresnet", "swinunetr"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(_Section):
    """What the plan takes from the recipe; fields left out are planned from the data set.

    Attributes:
        spacing_mm: Distance between voxel centres on the network's grid, along x, y, z.
        patch_voxels: Size of one window, in voxels along x, y, z.
        orientation: Such as LPS. Axes may be turned round, but stay x, y and z of the patient.
        crop: A `kind` (`none`, `nonzero`, or `above` a `threshold`) and a `margin_mm`.
        image_order: Interpolation along each axis: 0 nearest, 1 linear, 3 cubic.
        overlap: Share that windows have in common.
        blend: How overlapping windows are weighted.
        mirror_axes: Axes (0, 1, 2) along which training and `--tta` may flip.
        normalisation: `plan` leaves it to the plan; `window` clips to window_hu and maps it to
            [0, 1]; `foreground` does so with the data set's 5th and 95th foreground percentiles;
            `zscore` and `zscore-nonzero` take each scan's own mean and deviation.
        regions: `data-set` predicts regions where the data set lists some; `brain-tumour` also
            finds whole tumour, core and enhancing tumour by the names of the labels; `auto` does
            so where the names are such, and else learns the labels.
    """

    spacing_mm: Triple | None = None
    patch_voxels: Size | None = None
    token_voxels: Size | None = Field(default=None, description="Size of a token, in voxels.")
    orientation: bounds.Orientation | None = None
    crop: Crop | None = None
    image_order: tuple[Order, Order, Order] | None = None
    overlap: float | None = Field(default=None, ge=0.0, lt=1.0)
    blend: Literal["gaussian", "constant"] | None = None
    mirror_axes: bounds.Axes | None = None
    normalisation: Literal["plan", "window", "foreground", "zscore", "zscore-nonzero"] = "plan"
    window_hu: bounds.Window = Field(
        default=(-1000.0, 1000.0), description="What `window` clips to."
    )
    patch_limit_voxels: int = Field(
        default=96**3, ge=512, description="Voxels of a planned patch, at most."
    )
    regions: Literal["auto", "data-set", "brain-tumour"] = "data-set"


class Network(_Section):
    """The network. UNETR's sizes that are left out are chosen by the machine.

    Attributes:
        skip_layers: Blocks, counted from 1, whose outputs feed the decoder besides the last.
        decoder: `unetr` is the paper's; `nup`, `pup` and `mla` are those of its ablation.
        drop_path: How often the last block of unetr-modern is skipped in training; those before
            less.
        num_registers: Tokens without a place in the patch, for what belongs to none.
        checkpointing: The transformer computes its activations again in the backward pass: less
            memory, more time.
    """

    name: NetworkName = Field(default="unetr", description="`--network` overrules it.")
    feature_size: bounds.Count | None = Field(
        default=None, description="Channels at full resolution."
    )
    hidden_size: bounds.Count | None = Field(default=None, description="Width of the transformer.")
    mlp_dim: bounds.Count | None = Field(
        default=None, description="Width of its perceptrons, mostly 4 x hidden_size."
    )
    num_heads: bounds.Count | None = Field(default=None, description="Heads of its attention.")
    num_layers: bounds.Count | None = Field(default=None, description="Number of its blocks.")
    skip_layers: tuple[int, ...] | None = None
    decoder: Literal["unetr", "nup", "pup", "mla"] = "unetr"
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0, description="In the transformer.")
    deep_supervision: bool = Field(default=False, description="Loss of coarser outputs, too.")
    drop_path: float = Field(default=0.0, ge=0.0, lt=1.0)
    num_registers: int = Field(default=0, ge=0)
    checkpointing: bool = False
    stem: bool = Field(default=False, description="Convolutions beside the transformer.")


class Sampling(_Section):
    """Where patches come from.

    Attributes:
        foreground: Share of patches centred on a labelled voxel.
        by_class: Draw the class first, so that small structures are seen as often as large ones.
        crops_per_case: Consecutive patches from one case.
    """

    foreground: float = Field(default=0.5, ge=0.0, le=1.0)
    by_class: bool = False
    crops_per_case: int = Field(default=1, ge=1)


class Augmentation(_Section):
    """How patches are changed; sizes are the largest ones drawn.

    Attributes:
        *_p: Probability per patch.
        flip_p: Probability per axis and patch.
        flip_axes: `all` are the paper's three; `plan` those the plan allows.
        rot90_planes: Quarter turns in any plane, or in that of x and y alone.
        rotate_degrees: About each axis; on thick slices only in the plane of the slices.
        scale: 0.2 draws from 1/1.2 to 1.2.
        appearance_p: Of other intensities for the same shapes, where the plan normalises each scan
            by itself, as it does with MR.
        structure_p: Of structures darker or brighter than they are, each with a probability of one
            half, where the plan normalises each scan by itself. `plan` is 0.2 where the plan is of
            10 to 49 cases and every label comes in one piece, as organs do, else 0.
        structure: Factor of a structure's distances from the patch's darkest voxel, drawn between
            the two on a logarithmic scale.
        intensity_scale, intensity_shift: x becomes x (1 + s) + t with s, t drawn uniformly from
            minus to plus these.
        gamma, contrast, low_resolution: Exponent or factor, drawn between the two.
        noise: Largest deviation, normalised intensities.
        blur_voxels: Width of the Gaussian, drawn between the two.
    """

    flip_p: bounds.Probability = 0.0
    flip_axes: Literal["all", "plan"] = "plan"
    rot90_p: bounds.Probability = 0.0
    rot90_planes: Literal["all", "axial"] = "all"
    rotate_p: bounds.Probability = 0.0
    rotate_degrees: bounds.NotNegative = 15.0
    scale_p: bounds.Probability = 0.0
    scale: bounds.NotNegative = 0.2
    appearance_p: bounds.Probability = 0.0
    structure_p: bounds.Probability | Literal["plan"] = 0.0
    structure: bounds.PositiveRange = (0.3, 1.7)
    intensity_scale_p: bounds.Probability = 0.0
    intensity_scale: bounds.NotNegative = 0.1
    intensity_shift_p: bounds.Probability = 0.0
    intensity_shift: bounds.NotNegative = 0.1
    gamma_p: bounds.Probability = 0.0
    gamma: bounds.PositiveRange = (0.7, 1.5)
    contrast_p: bounds.Probability = 0.0
    contrast: bounds.PositiveRange = (0.75, 1.25)
    noise_p: bounds.Probability = 0.0
    noise: bounds.NotNegative = 0.1
    blur_p: bounds.Probability = 0.0
    blur_voxels: bounds.PositiveRange = (0.5, 1.0)
    low_resolution_p: bounds.Probability = 0.0
    low_resolution: bounds.PositiveRange = (1.0, 2.0)


class Loss(_Section):
    """Soft Dice plus cross-entropy; see losses.py.

    Attributes:
        smooth: Added to the Dice's numerator and denominator. Equal ones give an absent class that
            is not predicted a Dice of 1.
    """

    squared: bool = Field(default=True, description="Squares in Dice's denominator.")
    smooth: tuple[bounds.NotNegative, bounds.Positive] = (1e-5, 1e-5)
    include_background: bool = Field(default=True, description="Dice of the background, too.")
    dice_weight: bounds.NotNegative = Field(default=1.0, description="Weight of the Dice.")
    ce_weight: bounds.NotNegative = Field(default=1.0, description="Weight of cross-entropy.")

    @model_validator(mode="after")
    def _some(self) -> "Loss":
        if not self.dice_weight + self.ce_weight:
            raise ValueError("dice_weight and ce_weight are both 0; one must count")
        return self


class Training(_Section):
    """The optimisation, by AdamW.

    Attributes:
        lr: The highest learning rate; left out, chosen by the network.
        batch: Patches of a step over all processes; left out, chosen by the machine.
        accumulate: Batches whose gradients are summed to one step.
        max_steps, max_minutes: The end, whichever comes first; the schedule follows the nearer.
        warmup: Share of the run, at its beginning, in which the learning rate rises to `lr`.
        schedule: After the warm-up the rate falls as a cosine does, to a hundredth, or stays.
        precision: `auto` is bf16 or fp16 where the machine gains by it, else fp32.
        clip_norm: Largest norm of the gradient; 0 does not clip.
        ema: Decay of the averaged weights that are validated and kept; 0 keeps the last weights.
        save_steps: Also save every so many steps; 0 goes by save_minutes alone.
    """

    lr: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    weight_decay: bounds.NotNegative = Field(default=0.01, description="As AdamW has it.")
    batch: int | None = Field(default=None, ge=1)
    accumulate: int = Field(default=1, ge=1)
    max_steps: int | None = Field(default=None, ge=1)
    max_minutes: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: float = Field(default=0.0, ge=0, lt=1)
    clip_norm: bounds.NotNegative = 0.0
    ema: float = Field(default=0.0, ge=0, lt=1)
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    seed: bounds.Seed = Field(default=0, description="Of all random numbers.")
    log_steps: int = Field(default=10, ge=1, description="Steps between two lines of history.")
    save_minutes: float = Field(default=5.0, gt=0, description="Between two saved states.")
    save_steps: int = Field(default=0, ge=0)


class Validation(_Section):
    """How often all validation cases are predicted and scored in a run.

    Attributes:
        times: The last at the run's end; fewer before it where they take long.
    """

    times: int = Field(default=5, ge=1)


class Recipe(_Section):
    """A whole training run's numbers."""

    name: str = Field(description="What it is called in the run folder and the model.")
    data: Data = Data()
    network: Network = Network()
    sampling: Sampling = Sampling()
    augmentation: Augmentation = Augmentation()
    loss: Loss = Loss()
    training: Training = Training()
    validation: Validation = Validation()


def changed(recipe: Recipe, section: str, changes: dict[str, Any]) -> Recipe:
    """The recipe with other values in one of its sections."""
    content = recipe.model_dump()
    content[section] |= changes
    return Recipe.model_validate(content)
