"""Length penalties: by what the log-probability of a finished sequence is divided."""

from dataclasses import dataclass

from bua.errors import check_number

#: The largest alpha.
MOST = 10
RULES = ("none", "average", "wu")


@dataclass(frozen=True)
class LengthPenalty:
    """A penalty that grows with the length, so that longer sequences are not worse for being longer.

    Attributes:
        rule: ``none``; ``average``: length ** alpha; ``wu``: ((5 + length) / 6) ** alpha (Wu et al. 2016,
            equation 14).
        alpha: how strong it is; 0 is none.
    """

    rule: str = "none"
    alpha: float = 1.0

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"there is no length penalty {self.rule!r}; there is {', '.join(RULES)}")
        check_number("alpha of a length penalty", self.alpha, most=MOST)

    def __call__(self, length: int) -> float:
        """Return the divisor for a sequence of so many words, its end counted."""
        if self.rule == "none":
            return 1.0
        base = length if self.rule == "average" else (5 + length) / 6
        return float(base**self.alpha)
