"""What was found in one scan."""

from dataclasses import dataclass, field

from unetr.image.volume import Volume


@dataclass(frozen=True, eq=False)
class Prediction:
    """What was found in one scan. Every volume lies on the scan's own grid, with its affine.

    Attributes:
        labels: (1, x, y, z) native label ids.
        probabilities: (classes or regions, x, y, z) float16, where asked for.
        uncertainty: (1 or 2, x, y, z) float32 in nats, where asked for: the entropy of the mean
            prediction; with several members or mirrorings, the mutual information too.
        attention: (1, x, y, z) float32 attention rollout, where asked for.
        seconds: Spent per step.
    """

    labels: Volume
    probabilities: Volume | None = None
    uncertainty: Volume | None = None
    attention: Volume | None = None
    seconds: dict[str, float] = field(default_factory=dict)
