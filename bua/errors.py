"""The exception for mistakes that a user can correct, and checks of options."""

import math


class InputError(ValueError):
    """A file, an option, or a combination of them is wrong.

    The message is one line that names the file, the id or the key, and says what is wrong and what is
    expected. The command line prints it without a traceback and exits with code 2.
    """


class LostProcessError(InputError):
    """Another of the processes that work together has ended; every one that is left reports it.

    Args:
        advice: What to do about it.
    """

    def __init__(self, advice: str) -> None:
        super().__init__(
            "another process of this command ended unexpectedly, probably killed because memory ran out; "
            + advice
        )


def check_integer(name: str, value: object, least: int = 0) -> None:
    """Raise ``ValueError`` unless ``value`` is an integer of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value}")


def check_number(
    name: str, value: object, *, least: float = 0, most: float = math.inf, without: float | None = None
) -> None:
    """Raise ``ValueError`` unless ``value`` is a finite number within a range.

    Args:
        name: Name of the option, for the message.
        value: Value of the option.
        least: Lower end of the range. Default: 0.
        most: Upper end of the range. Default: infinity.
        without: The end that is itself excluded, ``least`` or ``most``. Default: none.
    """
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if math.isfinite(number) and least <= number <= most and number != without:
        return
    lower = f"above {least:g}" if without == least else f"of at least {least:g}"
    upper = f" and below {most:g}" if without == most else f" and at most {most:g}"
    raise ValueError(f"{name} must be a number {lower}{'' if math.isinf(most) else upper}, got {value}")


def check_flag(name: str, value: object) -> None:
    """Raise ``ValueError`` unless ``value`` is true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, got {value}")


def check_kind(name: str, value: object, *kinds: type) -> None:
    """Raise ``ValueError`` unless ``value`` is an instance of one of ``kinds``."""
    if not isinstance(value, kinds):
        *first, last = (kind.__name__ for kind in kinds)
        wanted = f"{', '.join(first)} or {last}" if first else last
        got = type(value).__name__ if hasattr(value, "__dict__") else repr(value)
        raise ValueError(f"{name} must be a {wanted}, got {got}")
