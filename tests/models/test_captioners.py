"""Properties of all captioners: steps, padding, order, batches, gradients."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from bua.decode import BeamSearch, reorder
from bua.inference.captioning import make_step_function
from bua.text import BOS, PADDING
from tests.helpers.models import (
    CAPTIONERS,
    B,
    K,
    N,
    T,
    V,
    captioner,
    random_regions,
    random_words,
    run_steps,
    select,
)

all_captioners = pytest.mark.parametrize("kind", CAPTIONERS)
few_examples = settings(max_examples=15, deadline=None)
COUNTS = st.lists(st.integers(1, K), min_size=1, max_size=4)


def assert_close(actual, expected) -> None:
    torch.testing.assert_close(actual, expected, atol=2e-5, rtol=1e-4)


def test_there_are_captioners() -> None:
    assert len(CAPTIONERS) >= 7


@all_captioners
@few_examples
@given(counts=COUNTS, sequences=st.integers(1, 3), length=st.integers(1, 6))
@torch.no_grad()
def test_steps_equal_teacher_forcing(kind: str, counts, sequences, length) -> None:
    model, regions = captioner(kind), random_regions(counts)
    words = random_words(len(counts), sequences, length)
    assert_close(run_steps(model, regions, words)[0], model(regions, words))


@all_captioners
@torch.no_grad()
def test_logits_of_selected_words_are_those_of_all_words(kind: str) -> None:
    model, regions, words = captioner(kind), random_regions(), random_words()
    selected = torch.rand(words.shape, generator=torch.Generator().manual_seed(0)) < 0.4
    assert 0 < selected.sum() < selected.numel()
    torch.testing.assert_close(model(regions, words, selected), model(regions, words)[selected])


@all_captioners
@torch.no_grad()
def test_attention_sums_to_one_and_is_exactly_zero_on_padding(kind: str) -> None:
    regions = random_regions()
    _, weights = run_steps(captioner(kind), regions, random_words())
    assert weights.shape == (B, N, T, K)
    assert_close(weights.sum(-1), torch.ones(B, N, T))
    assert (weights >= 0).all()
    assert (weights == 0).equal(~regions.mask[:, None, None].expand_as(weights))


@all_captioners
@few_examples
@given(counts=COUNTS, more=st.integers(0, 4), seed=st.integers(0, 99))
@torch.no_grad()
def test_the_amount_and_values_of_padding_change_nothing(kind, counts, more, seed) -> None:
    model, regions, words = captioner(kind), random_regions(counts), random_words(len(counts))
    logits, weights = run_steps(model, regions, words)
    num_regions = regions.mask.shape[1]
    torch.manual_seed(seed)
    longer = select(random_regions([K + 4] * len(counts), seed), slice(None), slice(num_regions + more))
    for tensor, real in zip(longer[:1] + longer[2:], regions[:1] + regions[2:], strict=True):
        tensor[:, :num_regions] = torch.where(regions.mask.unsqueeze(-1), real, 9 * torch.randn_like(real))
    mask = F.pad(regions.mask, (0, more))
    actual, attention = run_steps(model, longer._replace(mask=mask), words)
    assert_close(actual, logits)
    assert_close(attention, F.pad(weights, (0, more)))
    assert_close(model(longer._replace(mask=mask), words), logits)


@all_captioners
@few_examples
@given(order=st.permutations(range(K)))
@torch.no_grad()
def test_permuting_regions_permutes_the_attention(kind: str, order) -> None:
    """Padding may then come before or between regions."""
    model, regions, words = captioner(kind), random_regions(), random_words()
    logits, weights = run_steps(model, regions, words)
    shuffled = select(regions, slice(None), order)
    actual, attention = run_steps(model, shuffled, words)
    assert_close(actual, logits)
    assert_close(attention, weights[..., order])
    assert_close(model(shuffled, words), logits)


@all_captioners
@few_examples
@given(images=st.lists(st.integers(0, B - 1), min_size=1, max_size=4), sequences=st.integers(1, 3))
@torch.no_grad()
def test_a_batch_equals_single_captions_of_single_images(kind: str, images, sequences) -> None:
    model, regions, words = captioner(kind), random_regions(), random_words(len(images), sequences)
    batch = model(select(regions, images), words)
    for n, image in enumerate(images):
        count = int(regions.mask[image].sum())
        single = select(regions, slice(image, image + 1), slice(count))
        for m in range(sequences):
            assert_close(batch[n, m], model(single, words[n : n + 1, m : m + 1])[0, 0])


@all_captioners
@few_examples
@given(parents=st.lists(st.integers(0, N - 1), min_size=B, max_size=3 * B), after=st.integers(0, T - 1))
@torch.no_grad()
def test_a_search_can_continue_with_any_selection_of_sequences(kind: str, parents, after) -> None:
    model, regions, words = captioner(kind), random_regions(), random_words()
    memory = model.encode(regions)
    state = model.init_state(memory, N)
    for t in range(after):
        _, _, state = model.step(words[:, :, t], memory, state)
    index = torch.tensor(parents[: len(parents) // B * B]).view(B, -1)
    selected = words[:, :, after].gather(1, index)
    logits, weights, next_state = model.step(selected, memory, reorder(state, index))
    all_logits, all_weights, _ = model.step(words[:, :, after], memory, state)
    assert_close(logits, torch.stack([all_logits[b, index[b]] for b in range(B)]))
    assert_close(weights, torch.stack([all_weights[b, index[b]] for b in range(B)]))
    assert type(next_state) is type(state)


@all_captioners
@torch.no_grad()
def test_log_probabilities_of_beams_equal_teacher_forcing(kind: str) -> None:
    model, regions = captioner(kind), random_regions()
    step, state = make_step_function(model, regions)
    result = BeamSearch(beam_size=3, max_length=5)(step, state, images=B)
    words = F.pad(result.words, (1, 0), value=BOS)
    log_probs = model(regions, words[..., :-1]).log_softmax(-1)
    word_log_prob = log_probs.gather(3, words[..., 1:].unsqueeze(3)).squeeze(3)
    assert_close((word_log_prob * (result.words != PADDING)).sum(2), result.log_prob)


#: Modules that depend on the regions alone.
REGION_MODULES = ("region", "mean", "key", "first_h", "first_c", "geometry", "encoder_norm")


@all_captioners
@pytest.mark.parametrize("run", [run_steps, lambda model, *batch: model(*batch)], ids=["steps", "forcing"])
@torch.no_grad()
def test_regions_are_encoded_once_per_image(kind: str, run) -> None:
    model, calls = captioner(kind), []
    modules = [module for name, module in model.named_children() if name in REGION_MODULES]
    for module in modules:
        module.register_forward_hook(lambda module, inputs, out: calls.append((module, len(inputs[0]))))
    run(model, random_regions(), random_words(sequences=3))
    assert calls
    assert sorted(map(str, calls)) == sorted(str((module, B)) for module in modules)


@all_captioners
@few_examples
@given(t=st.integers(0, T - 2))
@torch.no_grad()
def test_predictions_do_not_depend_on_later_words(kind: str, t: int) -> None:
    model, regions, words = captioner(kind), random_regions(), random_words()
    others = words.clone()
    others[:, :, t + 1 :] = (others[:, :, t + 1 :] + 1) % V
    changed, expected = model(regions, others), model(regions, words)
    assert_close(changed[:, :, : t + 1], expected[:, :, : t + 1])
    assert not torch.allclose(changed[:, :, t + 1 :], expected[:, :, t + 1 :])


@all_captioners
@torch.no_grad()
def test_predictions_depend_on_the_regions_and_on_all_earlier_words(kind: str) -> None:
    model, regions, words = captioner(kind), random_regions(), random_words()
    first = model(regions, words)[:, :, -1]
    other = model(regions._replace(features=regions.features + 0.5), words)[:, :, -1]
    assert (other - first).abs().max() > 1e-3
    words[:, :, 0] = (words[:, :, 0] + 1) % V
    assert (model(regions, words)[:, :, -1] - first).abs().max() > 1e-4


def is_redundant(name: str) -> bool:
    """Return whether a parameter adds the same number to all scores of a softmax."""
    return name == "attention.score.bias" or name.endswith(("words.key.bias", "regions.key.bias"))


@all_captioners
def test_every_parameter_gets_a_gradient_and_the_model_can_be_copied(kind: str) -> None:
    model = copy.deepcopy(captioner(kind)).train()
    torch.manual_seed(3)
    F.cross_entropy(
        model(random_regions(), random_words()).flatten(0, 2), random_words(seed=5).flatten()
    ).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert [name for name, g in gradients.items() if g is None or not g.isfinite().all()] == []
    assert [name for name, g in gradients.items() if not is_redundant(name) and not g.any()] == []


def test_word_vectors_are_trained_unless_they_are_fixed() -> None:
    fixed = [kind for kind in CAPTIONERS if not captioner(kind).word.weight.requires_grad]
    assert fixed == ["updown_caffe_fixed"]


@all_captioners
def test_captions_can_be_memorized(kind: str) -> None:
    model, regions, words = captioner(kind), random_regions(), random_words(sequences=1, length=6)
    words[:, :, 0] = BOS
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
    for _ in range(120):
        optimizer.zero_grad()
        logits = model(regions, words[..., :-1])
        loss = F.cross_entropy(logits.flatten(0, 2), words[..., 1:].flatten())
        loss.backward()
        optimizer.step()
    assert logits.argmax(-1).equal(words[..., 1:])


@all_captioners
def test_an_image_without_regions_causes_no_nan(kind: str) -> None:
    """No store has such images, but they must not affect the gradients of others."""
    model, regions, words = captioner(kind), random_regions(), random_words()
    mask = regions.mask.clone()
    mask[1] = False
    logits, weights = run_steps(model, regions._replace(mask=mask), words)
    assert logits.isfinite().all()
    assert not weights[1].any()
    assert_close(logits[::2], model(regions, words)[::2])
    logits = model(regions._replace(mask=mask), words)
    logits.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


@all_captioners
def test_dropout_is_active_in_training_only(kind: str) -> None:
    model, regions, words = captioner(kind), random_regions(), random_words()
    assert model(regions, words).equal(model(regions, words))
    torch.manual_seed(0)
    model.train()
    deterministic = model(regions, words).equal(model(regions, words))
    assert deterministic == kind.startswith(("updown_caffe", "updown_nocaps")), (
        "the Caffe release has no dropout"
    )


@all_captioners
def test_half_precision_is_close_to_full_precision(kind: str) -> None:
    model, regions, words = captioner(kind), random_regions(), random_words()
    with torch.autocast("cpu", torch.bfloat16):
        half = model(regions, words).float()
        stepped = run_steps(model, regions, words)[0].float()
    torch.testing.assert_close(half, model(regions, words), atol=0.1, rtol=0.1)
    torch.testing.assert_close(stepped, half, atol=0.1, rtol=0.1)
