"""The one exception for what a user can put right."""


class InputError(ValueError):
    """A file, option or combination of them is wrong.

    The message is one line that names the file, the id or the key and what would be right. The
    command line prints it without a traceback and exits with code 2.
    """
