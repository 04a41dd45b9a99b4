"""The one exception for what a user can put right, and what options are checked by."""

import math


class InputError(ValueError):
    """A file, option or combination of them is wrong.

    The message is one line that names the file, the id or the key and what would be right. The
    command line prints it without a traceback and exits with code 2.
    """


def check_whole(name: str, value: object, least: int = 0) -> None:
    """Raise ``ValueError`` unless a value is a whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} is {value}; a whole number of at least {least} is needed")


def check_number(
    name: str, value: object, *, least: float = 0, most: float = math.inf, without: float | None = None
) -> None:
    """Raise ``ValueError`` unless a value is a finite number in a range, of which one end may not belong.

    Args:
        name: of the option.
        value: of the option.
        least: the lower end.
        most: the upper end.
        without: the end that does not belong to the range.
    """
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if math.isfinite(number) and least <= number <= most and number != without:
        return
    lower = f"above {least:g}" if without == least else f"of at least {least:g}"
    upper = f" and below {most:g}" if without == most else f" and at most {most:g}"
    raise ValueError(f"{name} is {value}; a number {lower}{'' if math.isinf(most) else upper} is needed")


def check_flag(name: str, value: object) -> None:
    """Raise ``ValueError`` unless a value is true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {value}; true or false is needed")


def check_kind(name: str, value: object, *kinds: type) -> None:
    """Raise ``ValueError`` unless a value is an object of one of some classes."""
    if not isinstance(value, kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise ValueError(f"{name} is {value}; a {wanted} is needed")
