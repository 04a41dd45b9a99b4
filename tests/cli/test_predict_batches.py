"""Batches of images, limited by the number of states of their automata."""

from itertools import pairwise, repeat

from hypothesis import given
from hypothesis import strategies as st

from bua.inference.predict import batched


@given(states=st.lists(st.integers(1, 50)), limit=st.integers(1, 100))
def test_batches_are_as_large_as_the_number_of_states_allows_and_no_larger(states, limit) -> None:
    found = list(batched(range(len(states)), states, limit))
    assert [image for batch in found for image in batch] == list(range(len(states)))
    for batch in found:
        assert len(batch) == 1 or len(batch) * max(states[i] for i in batch) <= limit
    for batch, following in pairwise(found):
        assert (len(batch) + 1) * max(states[i] for i in [*batch, following[0]]) > limit


def test_images_without_constraints_have_one_state() -> None:
    assert [len(batch) for batch in batched(range(7), repeat(1), 3)] == [3, 3, 1]
