"""The base of every error that a user can act on."""


class TickhouseError(Exception):
    """Something is wrong that a person can mend; the message is a sentence that says how.

    The command line prints it without a traceback and exits with `exit_code`.
    """

    exit_code = 1
