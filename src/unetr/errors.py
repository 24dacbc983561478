"""The one error a user can cause: bad input, told in one line."""


class InputError(ValueError):
    """The call or its input is wrong.

    The message is one line that names the file, the field and the cure. The command line prints it
    without a traceback and exits with code 2.
    """


class TooLittleMemoryError(InputError):
    """Not with the memory that may be used now."""
