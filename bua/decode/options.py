"""Options of beam searches: number of beams, length, and comparison of finished sequences."""

from dataclasses import dataclass, field

from bua.decode.rules import Rules
from bua.errors import check_integer, check_kind, check_number

#: Largest exponent of a length penalty.
MAX_ALPHA = 10
PENALTIES = ("none", "average", "wu")
#: What happens to a finished sequence, see ``BeamOptions.finished``.
FINISHED = ("retire", "compete")


@dataclass(frozen=True)
class LengthPenalty:
    """A divisor of log-probabilities that grows with the length, so that long sequences can compete.

    Attributes:
        rule: ``none`` divides by 1, ``average`` by length ** alpha, ``wu`` by ((5 + length) / 6) ** alpha
            (Wu et al. 2016, equation 14).
        alpha: Strength of the penalty, from 0 (none) to 10.

    Raises:
        ValueError: If the rule is unknown or alpha is out of range.
    """

    rule: str = "none"
    alpha: float = 1.0

    def __post_init__(self) -> None:
        if self.rule not in PENALTIES:
            raise ValueError(f"length_penalty.rule must be one of {', '.join(PENALTIES)}, got {self.rule!r}")
        check_number("length_penalty.alpha", self.alpha, most=MAX_ALPHA)

    def __call__(self, length: int) -> float:
        """Return the divisor for a sequence of ``length`` words, the end token included."""
        if self.rule == "none":
            return 1.0
        base = length if self.rule == "average" else (5 + length) / 6
        return float(base**self.alpha)


@dataclass(frozen=True)
class BeamOptions:
    """Options that all beam searches have.

    Attributes:
        beam_size: Number of sequences kept at every step and returned; with an automaton, per state.
        max_length: Length of the longest sequence, the end token included.
        finished: ``retire``: a finished sequence is collected and frees its slot for the next step
            (self-critical.pytorch); the search of an image ends when no live sequence can still beat the
            worst of ``beam_size`` collected ones. ``compete``: it keeps its slot until better sequences
            take it (Up-Down's Caffe release); the search ends when every slot is finished.
        rules: Words that the search must not generate.
        length_penalty: Penalty by which finished sequences are compared.

    Raises:
        ValueError: If an option has the wrong type or is out of range.
    """

    beam_size: int = 5
    max_length: int = 20
    finished: str = "retire"
    rules: Rules = field(default_factory=Rules)
    length_penalty: LengthPenalty = field(default_factory=LengthPenalty)

    def __post_init__(self) -> None:
        check_integer("beam_size", self.beam_size, 1)
        check_integer("max_length", self.max_length, 1)
        check_kind("rules", self.rules, Rules)
        check_kind("length_penalty", self.length_penalty, LengthPenalty)
        if self.finished not in FINISHED:
            raise ValueError(f"finished must be {' or '.join(FINISHED)}, got {self.finished!r}")

    @property
    def num_sequences(self) -> int:
        """Number of sequences that the search returns for each image."""
        return self.beam_size
