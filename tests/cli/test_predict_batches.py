"""Batches of images of which each has an automaton of so many states."""

from itertools import pairwise, repeat

from hypothesis import given
from hypothesis import strategies as st

from bua.cli.commands.predict import batches


@given(states=st.lists(st.integers(1, 50)), most=st.integers(1, 100))
def test_batches_are_as_large_as_the_number_of_states_allows_and_no_larger(states, most) -> None:
    found = list(batches(range(len(states)), states, most))
    assert [image for batch in found for image in batch] == list(range(len(states)))
    for batch in found:
        assert len(batch) == 1 or len(batch) * max(states[i] for i in batch) <= most
    for batch, following in pairwise(found):
        assert (len(batch) + 1) * max(states[i] for i in [*batch, following[0]]) > most


def test_images_without_constraints_are_counted_alone() -> None:
    assert [len(batch) for batch in batches(range(7), repeat(1), 3)] == [3, 3, 1]
