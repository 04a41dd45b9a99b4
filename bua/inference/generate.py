"""Making captioners say something: a model, its regions and a search put together.

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
    """Encode regions and return the step function of a captioner over them, and its first state."""
    memory = model.encode(regions)
    stepping = model.stepping(memory)

    def step(words: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
        logits, weights, state = stepping(words, state)
        return logits.float().log_softmax(-1), weights, state

    return step, model.start(memory, 1)


@torch.no_grad()
def generate(
    models: Sequence[Captioner[Any, Any]],
    regions: Sequence[RegionBatch],
    decoder: Decoder,
    shares: Sequence[float] | None = None,
    **more: Any,
) -> Hypotheses:
    """Caption a batch of images by one captioner, or by several together.

    Args:
        models: captioners over one vocabulary, in eval mode.
        regions: of the images, as each captioner looks at them.
        decoder: the search; its rules are over the indices of words.
        shares: of each model in the mean of their probabilities; equal ones by default.
        more: further arguments of the search, as ``automaton``.
    """
    parts = [make_step_function(model, batch) for model, batch in zip(models, regions, strict=True)]
    step, state = parts[0]
    if len(parts) > 1:
        alike = all(torch.equal(batch.boxes, regions[0].boxes) for batch in regions)
        step = ensemble([one for one, _ in parts], shares, same_regions=alike)
        state = tuple(first for _, first in parts)
    features = regions[0].features
    return decoder(step, state, images=len(features), device=features.device, **more)


@cache
def _report(line: str) -> None:
    log.warning(line)


def resolve_rule_words(decoder: Search, vocabulary: Vocabulary) -> Search:
    """Return a search whose rules are over the indices of a vocabulary, from one that names words.

    Words that the vocabulary lacks are told, once a process.

    Raises:
        InputError: the vocabulary is of pieces of words, and a rule is about whole ones.
    """
    rules = decoder.rules
    if vocabulary.pieces and (rules.of_words() or not rules.allow_repeat or rules.no_repeat_ngram_size):
        raise InputError(
            "rules.allow_repeat, again, ngram, banned and endings are over words; the model says pieces"
        )
    for rule, words in decoder.rules.unheard(vocabulary.index).items():
        _report(
            f"rules.{rule}: the vocabulary lacks {', '.join(map(str, words))}: there the rule does nothing"
        )
    return replace(decoder, rules=decoder.rules.indexed(vocabulary.index))
