"""A compiled captioner gives what a plain one gives, and its weights keep their names."""

import copy

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from bua.models.captioners.recurrent import RecurrentCaptioner
from tests.helpers.models import CAPTIONERS, captioner, some_regions, some_words

#: Regions of each image and words: no two batches are of the same shape.
BATCHES = [([5, 2, 4], 4), ([4, 3], 5), ([2, 5, 3, 4], 6), ([3, 2, 4, 5, 6], 7)]
#: Compiling takes seconds.
KINDS = ("updown", "transformer")


def both(kind: str, **options):
    """Return a captioner, the same one compiled, and what counts the graphs that are compiled."""
    torch._dynamo.reset()
    plain, graphs = captioner(kind), CompileCounter()
    compiled = copy.deepcopy(plain)
    compiled.compile(backend=graphs, **options)
    return plain, compiled, graphs


def test_a_recurrent_one_and_a_transformer_are_tried() -> None:
    assert set(KINDS) < set(CAPTIONERS)
    assert {issubclass(type(captioner(kind)), RecurrentCaptioner) for kind in KINDS} == {True, False}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_it_gives_what_the_plain_captioner_gives_and_is_not_compiled_again_after_two_shapes(
    kind: str,
) -> None:
    plain, compiled, graphs = both(kind)
    compiled_by: list[int] = []
    for counts, length in BATCHES:
        regions, words = some_regions(counts), some_words(len(counts), length=length)
        wanted, found = plain(regions, words), compiled(regions, words)
        torch.testing.assert_close(found, wanted)
        for logits in (wanted, found):
            logits.square().sum().backward()
        for parameter, other in zip(plain.parameters(), compiled.parameters(), strict=True):
            torch.testing.assert_close(other.grad, parameter.grad, rtol=1e-4, atol=1e-5)
        compiled_by.append(graphs.frame_count)
    assert compiled_by[0] > 0
    assert compiled_by[1:] == [compiled_by[1]] * (len(BATCHES) - 1)  # once for a shape, once for any
    assert list(compiled.state_dict()) == list(plain.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_a_compiled_step_says_the_same_and_is_not_compiled_for_every_batch(kind: str) -> None:
    plain, compiled, graphs = both(kind, dynamic=True)
    for counts, length in BATCHES:
        regions, words = some_regions(counts), some_words(len(counts), length=length)
        said = []
        for model in (plain, compiled):
            memory = model.encode(regions)
            state, step = model.start(memory, words.shape[1]), model.stepping(memory)
            for read in words.unbind(2):
                logits, weights, state = step(read, state)
                said.append((logits, weights))
        for wanted, found in zip(said[:length], said[length:], strict=True):
            torch.testing.assert_close(found, wanted)
    assert 1 <= graphs.frame_count <= 8  # torch's limit, behind which nothing is compiled any more
