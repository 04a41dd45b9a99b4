"""Decoding: searches over a step function."""

from bua.decode.automaton import Automaton, build_automaton
from bua.decode.beam import BeamSearch, greedy
from bua.decode.diverse import DiverseBeamSearch
from bua.decode.ensemble import ensemble
from bua.decode.options import BeamOptions, LengthPenalty, Rules, resolve_rule_words
from bua.decode.sampling import Sampling
from bua.decode.signature import search_signature
from bua.decode.step import Hypotheses, SpecialTokens, StepFunction, reorder, repeat

#: Any of the searches.
Decoder = BeamSearch | DiverseBeamSearch | Sampling
DECODERS = (BeamSearch, DiverseBeamSearch, Sampling)

__all__ = [
    "DECODERS",
    "Automaton",
    "BeamOptions",
    "BeamSearch",
    "Decoder",
    "DiverseBeamSearch",
    "Hypotheses",
    "LengthPenalty",
    "Rules",
    "Sampling",
    "SpecialTokens",
    "StepFunction",
    "build_automaton",
    "ensemble",
    "greedy",
    "reorder",
    "repeat",
    "resolve_rule_words",
    "search_signature",
]
