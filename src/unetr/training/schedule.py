"""How far the run is, and the learning rate at that point."""

import math
import time
from dataclasses import dataclass, field
from typing import Literal

# What is thought to take a second may take this long once others use the machine too.
_MARGIN = 1.25
# A cosine that ends at 0 wastes its last steps.
FLOOR = 0.01


def lr_factor(progress: float, warmup: float, kind: Literal["cosine", "constant"]) -> float:
    """Share of the full learning rate.

    It rises linearly over the first `warmup` of the run, then stays (`constant`) or falls as half
    a cosine to FLOOR (Loshchilov and Hutter, arXiv:1608.03983).

    Args:
        progress: Share of the run that is done, in [0, 1].
        warmup: Share of the run, in [0, 1).
    """
    if progress < warmup:
        return max(progress / warmup, FLOOR)
    if kind == "constant":
        return 1.0
    rest = min((progress - warmup) / (1 - warmup), 1.0)
    return FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * rest))


@dataclass
class Clock:
    """Says how far a run is, by its steps, by its minutes, or by whichever is nearer its end.

    Attributes:
        max_steps, max_minutes: The end; at least one is given.
        before_s: Seconds spent before this process, where the run was resumed.
        reserved_s: Seconds at the end that belong to the last validation and what follows it.
    """

    max_steps: int | None
    max_minutes: float | None
    before_s: float = 0.0
    reserved_s: float = 0.0
    started: float = field(default_factory=time.monotonic)

    def elapsed_s(self) -> float:
        """Seconds since the run began, without those between a stop and its resumption."""
        return self.before_s + time.monotonic() - self.started

    def reserve(self, seconds: float) -> None:
        """Leaves the end of the run to work that is thought to take so long, and some more."""
        self.reserved_s = _MARGIN * seconds

    def progress(self, step: int) -> float:
        """Share of the run that is done after `step` steps, in [0, 1]."""
        done = [0.0]
        if self.max_steps is not None:
            done.append(step / self.max_steps)
        if self.max_minutes is not None:
            training_s = max(60 * self.max_minutes - self.reserved_s, 1e-3)
            done.append(self.elapsed_s() / training_s)
        return min(max(done), 1.0)

    def left_s(self, step: int) -> float:
        """Seconds that the rest of the run will take at the pace so far; 0 if not known."""
        done = self.progress(step)
        return self.elapsed_s() * (1 - done) / done if done > 0 else 0.0
