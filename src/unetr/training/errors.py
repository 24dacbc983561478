"""How a run ends before its end."""


class TrainingError(RuntimeError):
    """The run failed: its loss is not finite, or one of its processes is gone.

    The message is one line; the command line exits with code 1.
    """


class Stopped(Exception):  # noqa: N818 - it is no error
    """The run was asked to stop, and its state is saved.

    Args:
        begun: False where the run has not taken its folder yet, which is as it was.
    """

    def __init__(self, begun: bool = True) -> None:
        super().__init__()
        self.begun = begun
