"""Planning: from a data set's fingerprint to the plan, with the reason for each choice."""

import math

from unetr.data.cases import Dataset
from unetr.data.facts import AIR_HU, Triple
from unetr.data.fingerprint import ChannelStatistics, CropStatistics, Fingerprint
from unetr.data.mirror import names_a_side
from unetr.data.plan import Crop, Normalisation, Plan, Postprocessing
from unetr.data.resolution import LARGEST_TOKEN, choose_patch, choose_spacing, voxel_budget
from unetr.errors import InputError

# A crop must be worth it: else it only adds a way for scans to differ.
_MOST_KEPT = 0.85
_MARGIN_MM = 5.0
# A scan of micrometres has less to spare around it.
_MARGIN_SHARE = 0.05
# nnU-Net's: where it keeps less of the scan, a mask of zeros lies around what was scanned.
_MASKED = 0.75
_MUCH_ZERO = 0.25
# What a structure must be to count as one piece: nearly whole, in cases enough to tell.
_ONE_PIECE = 0.99
_ENOUGH_CASES = 10

PAPER_PATCH_VOXELS = 96**3


def make_plan(
    dataset: Dataset,
    fingerprint: Fingerprint,
    *,
    memory_gb: float = 8.0,
    batch: int = 2,
    patch_limit_voxels: int = PAPER_PATCH_VOXELS,
    spacing_mm: Triple | None = None,
) -> Plan:
    """Decides how scans of this data set become network input.

    Args:
        dataset: Gives channel, label and region names.
        fingerprint: What the cases have in common.
        memory_gb: Memory that a training step may take.
        batch: Patches in a training step.
        patch_limit_voxels: Voxels of a patch at most, whatever the memory: larger ones see more but
            train fewer steps an hour. By default the paper's 96 x 96 x 96.
        spacing_mm: Target spacing, to overrule the planned one.

    Returns:
        The plan; `plan.reasons` says in words why each field is what it is.

    Raises:
        InputError: memory or batch is not positive.
    """
    if not 0 < memory_gb < math.inf or batch < 1 or patch_limit_voxels < 1:
        raise InputError(
            f"plan: memory {memory_gb:g} GB, batch {batch}, patch limit {patch_limit_voxels}: "
            "give positive numbers"
        )
    reasons = {"orientation": "the usual one: x to the patient's right, y to the front, z up"}
    crop, extent_mm, reasons["crop"] = _choose_crop(fingerprint)
    outputs = len(dataset.regions) or len(dataset.labels)
    budget = voxel_budget(memory_gb, batch, outputs)
    limit = f"{memory_gb:g} GB for a training step over {batch} patches"
    if budget >= patch_limit_voxels:
        budget, limit = patch_limit_voxels, f"a limit of {patch_limit_voxels} voxels"
    if budget == PAPER_PATCH_VOXELS:
        limit = "the paper's number of voxels, 96 x 96 x 96,"
    if spacing_mm is None:
        spacing_mm, reasons["spacing_mm"] = choose_spacing(fingerprint, extent_mm, budget)
    else:
        reasons["spacing_mm"] = "as asked for"
    patch, token, reasons["patch_voxels"] = choose_patch(extent_mm, spacing_mm, budget, limit)
    reasons["token_voxels"] = _token_reason(token, spacing_mm)
    masked = any(c.kind == "nonzero" and c.kept < _MASKED for c in fingerprint.crops)
    normalisation = tuple(_normalisation(channel, masked) for channel in fingerprint.channels)
    reasons["normalisation"] = _normalisation_reasons(fingerprint.channels, normalisation)
    mirror_axes, reasons["mirror_axes"] = _choose_mirrors(dataset, fingerprint)
    postprocessing, reasons["postprocessing"] = _choose_pieces(dataset, fingerprint)
    reasons["image_order"] = "linear: sharp enough, and it invents no intensities"
    return Plan(
        channels=dataset.channels,
        labels=dataset.labels,
        regions=dataset.regions,
        spacing_mm=spacing_mm,
        patch_voxels=patch,
        token_voxels=token,
        crop=crop,
        normalisation=normalisation,
        mirror_axes=mirror_axes,
        postprocessing=postprocessing,
        reasons=reasons,
    )


def _choose_crop(fingerprint: Fingerprint) -> tuple[Crop, Triple, str]:
    """The rule that saves most without cutting a label, and the median scan's size after it."""
    ct = fingerprint.channels[0].modality == "CT"
    usable = [
        crop
        for crop in fingerprint.crops
        if crop.holds_labels and crop.kept <= _MOST_KEPT and (ct or crop.threshold != AIR_HU)
    ]
    if not usable:
        return (
            Crop(),
            fingerprint.extent_mm.median,
            "no rule saves 15% without cutting labels",
        )
    best = min(usable, key=lambda crop: crop.kept)
    margin_mm = min(_MARGIN_MM, _MARGIN_SHARE * max(best.extent_mm))
    chosen = Crop(kind=best.kind, threshold=best.threshold, margin_mm=margin_mm)
    reason = f"{_crop_words(best)}: {best.kept:.0%} of the median scan, with all labels inside"
    return chosen, best.extent_mm, reason


def _crop_words(crop: CropStatistics) -> str:
    if crop.kind == "nonzero":
        return "to the voxels that are not 0 (the rest is masked out)"
    if crop.threshold == AIR_HU:
        return "to the body, away from the air around it"
    return f"to what lies above the constant background ({crop.threshold:.3g} and less)"


def _token_reason(token: tuple[int, int, int], spacing_mm: Triple) -> str:
    if token == (LARGEST_TOKEN,) * 3:
        return "the paper's 16"
    if min(token) == max(token):
        return f"{token[0]} instead of the paper's 16: the patch is small, and has tokens enough so"
    mm = " x ".join(f"{n * s:.0f}" for n, s in zip(token, spacing_mm, strict=True))
    return f"fewer voxels where slices are thick or the patch is short: {mm} mm"


def _normalisation(channel: ChannelStatistics, masked: bool) -> Normalisation:
    """By the data set's numbers where they mean the same in each scan, else by the scan's own:
    those of its voxels that are not 0, where 0 is what was masked out and no dark tissue."""
    low, high = round(channel.percentile_00_5, 4), round(channel.percentile_99_5, 4)
    mean, std = round(channel.mean, 4), round(channel.std, 4)
    # Labels drawn by a threshold may hold one value alone.
    if channel.modality == "CT" and low < high and std > 0:
        return Normalisation(kind="standard", low=low, high=high, mean=mean, std=std)
    zeros_apart = masked and channel.zero_fraction >= _MUCH_ZERO
    return Normalisation(kind="zscore", over="nonzero" if zeros_apart else "all")


def _normalisation_reasons(
    channels: tuple[ChannelStatistics, ...], normalisation: tuple[Normalisation, ...]
) -> str:
    """A reason per channel, or a single one where it is the same for all."""
    reasons = [_normalisation_reason(*pair) for pair in zip(channels, normalisation, strict=True)]
    if len(set(reasons)) == 1:
        return reasons[0]
    return "; ".join(f"{c.name}: {reason}" for c, reason in zip(channels, reasons, strict=True))


def _normalisation_reason(channel: ChannelStatistics, chosen: Normalisation) -> str:
    if chosen.kind == "standard":
        return (
            f"CT ({channel.modality_reason}); clipped to the foreground's 0.5 and 99.5 "
            f"percentiles [{chosen.low:.0f}, {chosen.high:.0f}], then standardised with its mean "
            f"{chosen.mean:.1f} and deviation {chosen.std:.1f}"
        )
    known = f"{channel.modality} ({channel.modality_reason})"
    if channel.modality == "CT":
        known += ", but what is labelled has one value alone"
    reason = f"{known}; each scan by its own mean and deviation"
    if chosen.over == "nonzero":
        reason += f" over the voxels that are not 0 ({channel.zero_fraction:.0%} are)"
    return reason


def _choose_mirrors(dataset: Dataset, fingerprint: Fingerprint) -> tuple[tuple[int, ...], str]:
    """Left to right, unless that would turn one label into another.

    Bodies are alike on both sides, and never upside down or back to front: a network that learns
    such views, too, learns what it is for more slowly.
    """
    names = {label.id: label.name for label in fingerprint.labels}
    told = [*names.values(), *(region.name for region in dataset.regions)]
    sided = [name for name in told if names_a_side(name)]
    if twins := fingerprint.mirror_twins:
        a, b = twins[0]
        also = f" (and {len(twins) - 1} more pairs)" if len(twins) > 1 else ""
        why = f"'{names[a]}' and '{names[b]}'{also} lie mirrored"
        return (), f"none: {why}, and a flip would exchange the sides"
    if sided:
        return (), f"none: '{sided[0]}' names a side, and a flip would exchange the sides"
    return (0,), "left-right: no two labels lie mirrored to each other, none names a side"


def _choose_pieces(
    dataset: Dataset, fingerprint: Fingerprint
) -> tuple[tuple[Postprocessing, ...], str]:
    """What comes in one piece in every case is predicted in one piece."""
    if dataset.regions:
        return (), "none: regions overlap"
    whole = [
        label
        for label in fingerprint.labels
        if label.cases >= _ENOUGH_CASES and label.least_largest_part >= _ONE_PIECE
    ]
    if not whole:
        return (), f"none: no label is in one piece in each of {_ENOUGH_CASES} cases or more"
    rules = tuple(Postprocessing(label=label.id, largest_component=True) for label in whole)
    return rules, f"labels in one piece ({_ONE_PIECE:.0%} at least) in each of their cases"
