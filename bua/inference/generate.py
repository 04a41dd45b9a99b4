"""Generating captions: captioners, the regions of a batch, and a search.

Shapes: B images, N sequences an image, V words, K regions.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor

from bua.decode import BeamSearch, Decoder, DiverseBeamSearch, Hypotheses, Sampling, StepFunction, ensemble
from bua.errors import InputError
from bua.models.captioners.base import Captioner
from bua.structures.region_batch import RegionBatch
from bua.text.vocabulary import Vocabulary

log = logging.getLogger(__name__)

Search = TypeVar("Search", BeamSearch, DiverseBeamSearch, Sampling, Decoder)


def make_step_function(model: Captioner[Any, Any], regions: RegionBatch) -> tuple[StepFunction, Any]:
    """Encode regions, and return the step function of a captioner over them and its initial state."""
    memory = model.encode(regions)
    model_step = model.make_step(memory)

    def step(words: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
        logits, weights, state = model_step(words, state)
        return logits.float().log_softmax(-1), weights, state

    return step, model.init_state(memory, 1)


@torch.no_grad()
def generate(
    models: Sequence[Captioner[Any, Any]],
    regions: Sequence[RegionBatch],
    decoder: Decoder,
    weights: Sequence[float] | None = None,
    **kwargs: Any,
) -> Hypotheses:
    """Caption a batch of images with one captioner or an ensemble.

    Args:
        models: Captioners of one vocabulary, in eval mode.
        regions: Regions of the images, one batch for each captioner.
        decoder: Search whose rules are in word indices.
        weights: Weight of each model in the mean of their probabilities. Default: equal.
        kwargs: Further arguments of the search, such as ``automaton``.
    """
    parts = [make_step_function(model, batch) for model, batch in zip(models, regions, strict=True)]
    step, state = parts[0]
    if len(parts) > 1:
        same_regions = all(torch.equal(batch.boxes, regions[0].boxes) for batch in regions)
        step = ensemble([step for step, _ in parts], weights, same_regions=same_regions)
        state = tuple(state for _, state in parts)
    features = regions[0].features
    return decoder(step, state, images=len(features), device=features.device, **kwargs)


@cache
def _warn_once(line: str) -> None:
    log.warning(line)


def resolve_rule_words(decoder: Search, vocabulary: Vocabulary) -> Search:
    """Return a copy of a search whose rules are in the word indices of a vocabulary.

    Words that the vocabulary lacks are reported once a process.

    Args:
        decoder: Search whose rules may name words.
        vocabulary: Vocabulary of the captioner.

    Raises:
        InputError: If the vocabulary consists of subwords and a rule is about whole words.
    """
    rules = decoder.rules
    repeats = not rules.allow_repeat or rules.no_repeat_ngram_size
    if vocabulary.subword_model and (rules.name_words() or repeats):
        raise InputError(
            "the rules allow_repeat, repeatable_words, no_repeat_ngram_size, bad_words and bad_endings are "
            "about words, but the model generates subwords"
        )
    for rule, words in rules.unknown_words(vocabulary.index).items():
        listed = ", ".join(map(str, words))
        _warn_once(f"rules.{rule}: has no effect for {listed}, which the vocabulary lacks")
    return replace(decoder, rules=rules.to_indices(vocabulary.index))
