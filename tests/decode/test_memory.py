"""What a step of beam search allocates does not grow with the caption, but for its words."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bua.decode import BeamSearch, Rules
from bua.inference.generate import make_step_function
from tests.helpers.models import captioner, some_regions

WIDTH, LONGEST, IMAGES = 3, 24, 3


class Allocated(TorchDispatchMode):
    """Counts the bytes of every tensor that an operation makes anew."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = {t.untyped_storage().data_ptr() for t in tree_leaves((args, kwargs)) if torch.is_tensor(t)}
        out = func(*args, **(kwargs or {}))
        for made in tree_leaves(out):
            if torch.is_tensor(made) and made.untyped_storage().data_ptr() not in given:
                self.bytes += made.untyped_storage().nbytes()
        return out


@torch.no_grad()
def allocated(kind: str, rules: Rules) -> tuple[list[int], list[int]]:
    """Return the bytes of each step of a search, after the first: of the model and of the search itself."""
    step, state = make_step_function(captioner(kind), some_regions())
    counted = Allocated()
    marks: list[int] = []

    def marking(words, state):
        marks.append(counted.bytes)
        found = step(words, state)
        marks.append(counted.bytes)
        return found

    with counted:
        BeamSearch(WIDTH, LONGEST, rules=rules)(marking, state, images=IMAGES)
    inside = [b - a for a, b in zip(marks[::2], marks[1::2], strict=True)]
    between = [b - a for a, b in zip(marks[1::2], marks[2::2], strict=False)]
    assert len(inside) == LONGEST  # it said as many words as it may
    return inside[1:], between[1:]


@pytest.mark.parametrize("kind", ["updown", "updown_caffe", "att2in", "soft_attention", "mean_pooled"])
def test_the_model_of_a_recurrent_captioner_allocates_the_same_at_every_step(kind: str) -> None:
    model, _ = allocated(kind, Rules(min_length=LONGEST))
    assert len(set(model)) == 1
    assert model[0] > 0


def test_the_search_allocates_more_by_a_few_numbers_a_word() -> None:
    _, search = allocated("updown", Rules(min_length=LONGEST))
    growth = {b - a for a, b in zip(search, search[1:], strict=False)}
    assert growth == {2 * 8 * IMAGES * WIDTH}  # the words so far: chosen, then with one more


def test_a_transformer_allocates_more_by_the_keys_and_values_of_a_word() -> None:
    """It cannot do without them, and the search puts those of the beams that go on into their order."""
    model, search = allocated("transformer", Rules(min_length=LONGEST))
    kept = 2 * 2 * 4 * 8 * IMAGES * WIDTH  # layers, keys and values, bytes, numbers
    (growth,) = {b - a for a, b in zip(model, model[1:], strict=False)}
    assert kept <= growth < 1.1 * kept
    assert {b - a for a, b in zip(search, search[1:], strict=False)} == {kept + 2 * 8 * IMAGES * WIDTH}
