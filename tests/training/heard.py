"""A watcher of runs that remembers."""

from unetr.training.progress import Silence


class Heard(Silence):
    """Keeps what is said; may ask to stop at a step."""

    def __init__(self, stop=None, at=0):
        self.lines, self.stop, self.at = [], stop, at

    def say(self, line):
        self.lines.append(line)

    def stepped(self, moment, logged):
        if moment.step == self.at:
            self.stop.requested = True
