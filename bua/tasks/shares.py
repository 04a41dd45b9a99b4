"""The shares of several models in what they say together."""

from collections.abc import Sequence
from typing import Any

from bua.errors import InputError, check_number


def checked_shares(shares: Any, models: int) -> list[float]:
    """Return the share of each model, equal ones where there are none.

    Raises:
        InputError: they are not as many numbers above 0.
    """
    if shares is None:
        return [1.0] * models
    if not isinstance(shares, Sequence) or isinstance(shares, str) or len(shares) != models:
        raise InputError(f"shares={shares}: a list of {models} numbers is needed, one a model")
    try:
        for share in shares:
            check_number("a share", share, without=0)
    except ValueError as error:
        raise InputError(f"shares={shares}: {error}") from None
    return list(shares)
