"""The error that a user can mend."""


class InputError(ValueError):
    """Something given from outside (a file, a setting, a folder) cannot be used.

    The message names the file or key, says what is wrong with it and what to do. It is shown to the user as
    it stands, without a traceback, so it takes one argument: the whole message.
    """
