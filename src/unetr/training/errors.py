"""How a run ends before its end."""


class TrainingError(RuntimeError):
    """The run failed: its loss is not finite, or one of its processes is gone.

    The message is one line; the command line exits with code 1.
    """


class Stopped(Exception):  # noqa: N818 - it is no error
    """The run was asked to stop, and its state is saved.

    Args:
        replaced: False where what it was to replace is still as it was.
    """

    def __init__(self, replaced: bool = True) -> None:
        super().__init__()
        self.replaced = replaced
