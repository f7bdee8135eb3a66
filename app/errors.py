"""`TickhouseError`: base class of errors that a user can act on."""


class TickhouseError(Exception):
    """An error that a user can correct; the message explains what is wrong and what to do.

    The command line prints it without a traceback and exits with `exit_code`.
    """

    exit_code = 1
