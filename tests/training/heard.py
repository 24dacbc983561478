"""A watcher of runs that remembers."""

from unetr.training.order import Order
from unetr.training.progress import Silence
from unetr.training.run import run_training
from unetr.training.state import StopRequest


class Heard(Silence):
    """Keeps what is said; may ask to stop at a step."""

    def __init__(self, stop=None, at=0):
        self.lines, self.stop, self.at = [], stop, at

    def say(self, line):
        self.lines.append(line)

    def stepped(self, moment, logged):
        if moment.step == self.at:
            self.stop.requested = True


def run(order: Order, *, folds: bool = False) -> list[str]:
    """Trains; gives what was said."""
    heard = Heard()
    run_training(order, heard, StopRequest(), folds=folds)
    return heard.lines
