"""Compiled captioners equal plain ones, and their parameters keep their names."""

import copy

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from bua.models.captioners.base import RecurrentCaptioner
from tests.helpers.models import CAPTIONERS, captioner, random_regions, random_words

#: Numbers of regions of each image, and of words: no two batches have the same shape.
BATCHES = [([5, 2, 4], 4), ([4, 3], 5), ([2, 5, 3, 4], 6)]
#: Only two, as compilation takes seconds.
KINDS = ("updown", "transformer")


def plain_and_compiled(kind: str, **options):
    """Return a captioner, a compiled copy, and the counter of compiled graphs."""
    torch._dynamo.reset()
    plain, graphs = captioner(kind), CompileCounter()
    compiled = copy.deepcopy(plain)
    compiled.compile(backend=graphs, **options)
    return plain, compiled, graphs


def test_a_recurrent_captioner_and_a_transformer_are_tested() -> None:
    assert set(KINDS) < set(CAPTIONERS)
    assert {issubclass(type(captioner(kind)), RecurrentCaptioner) for kind in KINDS} == {True, False}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_compiled_captioner_equals_the_plain_one_and_is_compiled_for_two_shapes(kind: str) -> None:
    plain, compiled, graphs = plain_and_compiled(kind)
    num_graphs: list[int] = []
    for counts, length in BATCHES:
        regions, words = random_regions(counts), random_words(len(counts), length=length)
        expected, actual = plain(regions, words), compiled(regions, words)
        torch.testing.assert_close(actual, expected)
        for logits in (expected, actual):
            logits.square().sum().backward()
        for parameter, other in zip(plain.parameters(), compiled.parameters(), strict=True):
            torch.testing.assert_close(other.grad, parameter.grad, rtol=1e-4, atol=1e-5)
        num_graphs.append(graphs.frame_count)
    assert num_graphs[0] > 0
    assert num_graphs[1:] == [num_graphs[1]] * (
        len(BATCHES) - 1
    )  # once for the first shape, once for all others
    assert list(compiled.state_dict()) == list(plain.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_a_compiled_step_equals_the_plain_one_and_is_not_compiled_for_every_batch(kind: str) -> None:
    plain, compiled, graphs = plain_and_compiled(kind, dynamic=True)
    for counts, length in BATCHES:
        regions, words = random_regions(counts), random_words(len(counts), length=length)
        outputs = []
        for model in (plain, compiled):
            memory = model.encode(regions)
            state, step = model.init_state(memory, words.shape[1]), model.make_step(memory)
            for step_words in words.unbind(2):
                logits, weights, state = step(step_words, state)
                outputs.append((logits, weights))
        for expected, actual in zip(outputs[:length], outputs[length:], strict=True):
            torch.testing.assert_close(actual, expected)
    assert 1 <= graphs.frame_count <= 8  # torch's limit, beyond which nothing is compiled any more
