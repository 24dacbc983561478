"""How sure the network is of each voxel, in nats."""

from jaxtyping import Float
from torch import Tensor

from unetr.inference.window import Activation


def entropy(
    scores: Float[Tensor, "classes *grid"], activation: Activation
) -> Float[Tensor, "*grid"]:
    """Entropy of the predicted distribution: 0 where it is sure, log(classes) where it knows
    nothing. For overlapping regions the mean of their binary entropies, at most log(2).

    The mean entropy of the members of an ensemble, taken from the entropy of their mean, is the
    mutual information between answer and member: what they disagree about (Gal et al., Deep
    Bayesian Active Learning, arXiv:1703.02910).
    """
    if activation == "softmax":
        return _weighed(scores).sum(dim=0)
    return (_weighed(scores) + _weighed(1 - scores)).mean(dim=0)


def _weighed(p: Tensor) -> Tensor:
    """-p log p, with 0 log 0 = 0."""
    return -p * p.clamp(min=1e-12).log()
