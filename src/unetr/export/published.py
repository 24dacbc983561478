"""What the published MONAI UNETR checkpoints segment; the checkpoints themselves do not say."""

from dataclasses import dataclass

from unetr.data.plan import Label, Region

_ORGANS = (
    "background",
    "spleen",
    "right kidney",
    "left kidney",
    "gallbladder",
    "oesophagus",
    "liver",
    "stomach",
    "aorta",
    "inferior vena cava",
    "portal and splenic veins",
    "pancreas",
    "right adrenal gland",
    "left adrenal gland",
)
_TUMOUR = ("background", "oedema", "non-enhancing tumour", "enhancing tumour")


@dataclass(frozen=True)
class Task:
    """Channels in, structures out.

    Attributes:
        outputs: For each of our outputs the checkpoint's: MONAI's brain tumour networks give
            tumour core, whole tumour, enhancing tumour, and regions are painted from the outside
            in.
        window_hu: Of the intensities, where the recipe takes them from the training data.
        recipe: Whose grid and intensities it takes, where that is not the task's own name.
    """

    channels: tuple[str, ...]
    labels: tuple[Label, ...]
    regions: tuple[Region, ...] = ()
    outputs: tuple[int, ...] | None = None
    window_hu: tuple[float, float] | None = None
    recipe: str | None = None


def _labels(names: tuple[str, ...]) -> tuple[Label, ...]:
    return tuple(Label(id=index, name=name) for index, name in enumerate(names))


def _brain_tumour(innermost: int, rest_of_core: int, recipe: str | None = None) -> Task:
    """`innermost` is the label that the checkpoint's third output was trained on."""
    return Task(
        ("FLAIR", "T1w", "T1gd", "T2w"),
        _labels(_TUMOUR),
        (
            Region(name="whole tumour", members=(1, 2, 3), paint=1),
            Region(name="tumour core", members=(2, 3), paint=rest_of_core),
            Region(name=_TUMOUR[innermost], members=(innermost,), paint=innermost),
        ),
        outputs=(1, 0, 2),
        recipe=recipe,
    )


_BTCV = Task(("CT",), _labels(_ORGANS))
TASKS = {
    "btcv": _BTCV,
    "btcv-monai": _BTCV,
    # MONAI's spleen tutorial: the 5th and 95th percentiles of the data set's foreground.
    "msd-spleen": Task(("CT",), _labels(("background", "spleen")), window_hu=(-57.0, 164.0)),
    "msd-brain-tumour": _brain_tumour(innermost=3, rest_of_core=2),
    # MONAI's tutorial takes label 2 of the decathlon for the enhancing tumour; by the decathlon's
    # dataset.json it is the non-enhancing one, and 3 enhances.
    "msd-brain-tumour-monai": _brain_tumour(innermost=2, rest_of_core=3, recipe="msd-brain-tumour"),
}
