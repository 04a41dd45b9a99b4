"""Decoding: searches over a step function."""

from bua.decode.search import Hypotheses, StepFunction, beam, greedy

__all__ = ["Hypotheses", "StepFunction", "beam", "greedy"]
