"""The memory that a step of beam search allocates grows with the caption only by its words."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bua.decode import BeamSearch, Rules
from bua.inference.captioning import make_step_function
from tests.helpers.models import captioner, random_regions

BEAM_SIZE, MAX_LENGTH, IMAGES = 3, 24, 3


class AllocationCounter(TorchDispatchMode):
    """Counts the bytes of all new tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        inputs = {t.untyped_storage().data_ptr() for t in tree_leaves((args, kwargs)) if torch.is_tensor(t)}
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if torch.is_tensor(tensor) and tensor.untyped_storage().data_ptr() not in inputs:
                self.bytes += tensor.untyped_storage().nbytes()
        return out


@torch.no_grad()
def allocated_bytes(kind: str, rules: Rules) -> tuple[list[int], list[int]]:
    """Return the bytes that the model and the search itself allocate at each step after the first."""
    step, state = make_step_function(captioner(kind), random_regions())
    counter = AllocationCounter()
    marks: list[int] = []

    def marked_step(words, state):
        marks.append(counter.bytes)
        result = step(words, state)
        marks.append(counter.bytes)
        return result

    with counter:
        BeamSearch(BEAM_SIZE, MAX_LENGTH, rules=rules)(marked_step, state, images=IMAGES)
    in_model = [b - a for a, b in zip(marks[::2], marks[1::2], strict=True)]
    in_search = [b - a for a, b in zip(marks[1::2], marks[2::2], strict=False)]
    assert len(in_model) == MAX_LENGTH
    return in_model[1:], in_search[1:]


@pytest.mark.parametrize("kind", ["updown", "updown_caffe", "att2in", "soft_attention", "mean_pooled"])
def test_a_recurrent_captioner_allocates_the_same_at_every_step(kind: str) -> None:
    model, _ = allocated_bytes(kind, Rules(min_length=MAX_LENGTH))
    assert len(set(model)) == 1
    assert model[0] > 0


def test_the_search_allocates_a_few_more_numbers_for_every_word() -> None:
    _, search = allocated_bytes("updown", Rules(min_length=MAX_LENGTH))
    growth = {b - a for a, b in zip(search, search[1:], strict=False)}
    assert growth == {2 * 8 * IMAGES * BEAM_SIZE}  # the words so far: reordered, then extended by one


def test_a_transformer_allocates_more_keys_and_values_for_every_word() -> None:
    """It needs those of all words, and the search reorders them."""
    model, search = allocated_bytes("transformer", Rules(min_length=MAX_LENGTH))
    kept = 2 * 2 * 4 * 8 * IMAGES * BEAM_SIZE  # layers, keys and values, bytes per number, numbers
    (growth,) = {b - a for a, b in zip(model, model[1:], strict=False)}
    assert kept <= growth < 1.1 * kept
    assert {b - a for a, b in zip(search, search[1:], strict=False)} == {kept + 2 * 8 * IMAGES * BEAM_SIZE}
