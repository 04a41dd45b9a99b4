"""What holds for every captioner: how it is stepped, and what must not change what it says."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from bua.decode import BeamSearch, reorder
from bua.tasks import say
from bua.text import BOS, PADDING
from tests.helpers.models import CAPTIONERS, B, K, N, T, V, captioner, chosen, some_regions, some_words, steps

every = pytest.mark.parametrize("kind", CAPTIONERS)
some = settings(max_examples=15, deadline=None)
COUNTS = st.lists(st.integers(1, K), min_size=1, max_size=4)


def close(found, wanted) -> None:
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-4)


def test_there_are_captioners() -> None:
    assert len(CAPTIONERS) >= 7


@every
@some
@given(counts=COUNTS, sequences=st.integers(1, 3), length=st.integers(1, 6))
@torch.no_grad()
def test_steps_say_what_teacher_forcing_says(kind: str, counts, sequences, length) -> None:
    model, regions = captioner(kind), some_regions(counts)
    words = some_words(len(counts), sequences, length)
    close(steps(model, regions, words)[0], model(regions, words))


@every
@torch.no_grad()
def test_logits_of_chosen_words_are_those_of_all(kind: str) -> None:
    model, regions, words = captioner(kind), some_regions(), some_words()
    where = torch.rand(words.shape, generator=torch.Generator().manual_seed(0)) < 0.4
    assert 0 < where.sum() < where.numel()
    torch.testing.assert_close(model(regions, words, where), model(regions, words)[where])


@every
@torch.no_grad()
def test_weights_sum_to_one_and_are_exactly_zero_on_padding(kind: str) -> None:
    regions = some_regions()
    _, weights = steps(captioner(kind), regions, some_words())
    assert weights.shape == (B, N, T, K)
    close(weights.sum(-1), torch.ones(B, N, T))
    assert (weights >= 0).all()
    assert (weights == 0).equal(~regions.mask[:, None, None].expand_as(weights))


@every
@some
@given(counts=COUNTS, more=st.integers(0, 4), seed=st.integers(0, 99))
@torch.no_grad()
def test_how_much_padding_there_is_and_what_stands_in_it_changes_nothing(kind, counts, more, seed) -> None:
    model, regions, words = captioner(kind), some_regions(counts), some_words(len(counts))
    logits, weights = steps(model, regions, words)
    width = regions.mask.shape[1]
    torch.manual_seed(seed)
    longer = chosen(some_regions([K + 4] * len(counts), seed), slice(None), slice(width + more))
    for tensor, real in zip(longer[:1] + longer[2:], regions[:1] + regions[2:], strict=True):
        tensor[:, :width] = torch.where(regions.mask.unsqueeze(-1), real, 9 * torch.randn_like(real))
    mask = F.pad(regions.mask, (0, more))
    found, looked = steps(model, longer._replace(mask=mask), words)
    close(found, logits)
    close(looked, F.pad(weights, (0, more)))
    close(model(longer._replace(mask=mask), words), logits)


@every
@some
@given(order=st.permutations(range(K)))
@torch.no_grad()
def test_the_order_of_regions_changes_only_the_order_of_weights(kind: str, order) -> None:
    """Padding may then stand in front or between."""
    model, regions, words = captioner(kind), some_regions(), some_words()
    logits, weights = steps(model, regions, words)
    shuffled = chosen(regions, slice(None), order)
    found, looked = steps(model, shuffled, words)
    close(found, logits)
    close(looked, weights[..., order])
    close(model(shuffled, words), logits)


@every
@some
@given(images=st.lists(st.integers(0, B - 1), min_size=1, max_size=4), sequences=st.integers(1, 3))
@torch.no_grad()
def test_a_batch_says_what_each_caption_of_each_image_alone_does(kind: str, images, sequences) -> None:
    model, regions, words = captioner(kind), some_regions(), some_words(len(images), sequences)
    together = model(chosen(regions, images), words)
    for n, image in enumerate(images):
        count = int(regions.mask[image].sum())
        alone = chosen(regions, slice(image, image + 1), slice(count))
        for m in range(sequences):
            close(together[n, m], model(alone, words[n : n + 1, m : m + 1])[0, 0])


@every
@some
@given(parents=st.lists(st.integers(0, N - 1), min_size=B, max_size=3 * B), after=st.integers(0, T - 1))
@torch.no_grad()
def test_a_search_can_go_on_with_any_choice_of_sequences(kind: str, parents, after) -> None:
    model, regions, words = captioner(kind), some_regions(), some_words()
    memory = model.encode(regions)
    state = model.start(memory, N)
    for t in range(after):
        _, _, state = model.step(words[:, :, t], memory, state)
    index = torch.tensor(parents[: len(parents) // B * B]).view(B, -1)
    said = words[:, :, after].gather(1, index)
    logits, weights, following = model.step(said, memory, reorder(state, index))
    wanted, looked, _ = model.step(words[:, :, after], memory, state)
    close(logits, torch.stack([wanted[b, index[b]] for b in range(B)]))
    close(weights, torch.stack([looked[b, index[b]] for b in range(B)]))
    assert type(following) is type(state)


@every
@torch.no_grad()
def test_the_best_beams_are_as_likely_as_teacher_forcing_says(kind: str) -> None:
    model, regions = captioner(kind), some_regions()
    step, state = say.steps(model, regions)
    found = BeamSearch(beam_size=3, max_length=5)(step, state, images=B)
    words = F.pad(found.words, (1, 0), value=BOS)
    log_probs = model(regions, words[..., :-1]).log_softmax(-1)
    said = log_probs.gather(3, words[..., 1:].unsqueeze(3)).squeeze(3)
    close((said * (found.words != PADDING)).sum(2), found.log_prob)


OF_REGIONS = ("region", "mean", "key", "first_h", "first_c", "geometry", "encoder_norm")


@every
@pytest.mark.parametrize("way", [steps, lambda model, *batch: model(*batch)], ids=["steps", "forcing"])
@torch.no_grad()
def test_regions_are_encoded_once_an_image_however_many_words_and_sequences(kind: str, way) -> None:
    model, seen = captioner(kind), []
    parts = [module for name, module in model.named_children() if name in OF_REGIONS]
    for part in parts:
        part.register_forward_hook(lambda part, given, out: seen.append((part, len(given[0]))))
    way(model, some_regions(), some_words(sequences=3))
    assert seen
    assert sorted(map(str, seen)) == sorted(str((part, B)) for part in parts)


@every
@some
@given(t=st.integers(0, T - 2))
@torch.no_grad()
def test_no_word_is_said_from_words_to_come(kind: str, t: int) -> None:
    model, regions, words = captioner(kind), some_regions(), some_words()
    others = words.clone()
    others[:, :, t + 1 :] = (others[:, :, t + 1 :] + 1) % V
    found, wanted = model(regions, others), model(regions, words)
    close(found[:, :, : t + 1], wanted[:, :, : t + 1])
    assert not torch.allclose(found[:, :, t + 1 :], wanted[:, :, t + 1 :])


@every
@torch.no_grad()
def test_what_is_said_depends_on_the_regions_and_on_all_words_before(kind: str) -> None:
    model, regions, words = captioner(kind), some_regions(), some_words()
    first = model(regions, words)[:, :, -1]
    other = model(regions._replace(features=regions.features + 0.5), words)[:, :, -1]
    assert (other - first).abs().max() > 1e-3
    words[:, :, 0] = (words[:, :, 0] + 1) % V
    assert (model(regions, words)[:, :, -1] - first).abs().max() > 1e-4


def no_matter(name: str) -> bool:
    """Whether a parameter adds the same to all scores of a softmax, which changes no weight."""
    return name == "attention.score.bias" or name.endswith(("words.key.bias", "regions.key.bias"))


@every
def test_every_parameter_gets_a_gradient_and_the_model_can_be_copied(kind: str) -> None:
    model = copy.deepcopy(captioner(kind)).train()
    torch.manual_seed(3)
    F.cross_entropy(
        model(some_regions(), some_words()).flatten(0, 2), some_words(seed=5).flatten()
    ).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert [name for name, g in gradients.items() if g is None or not g.isfinite().all()] == []
    assert [name for name, g in gradients.items() if not no_matter(name) and not g.any()] == []


def test_words_learn_unless_they_are_fixed() -> None:
    fixed = [kind for kind in CAPTIONERS if not captioner(kind).word.weight.requires_grad]
    assert fixed == ["updown_caffe_fixed"]


@every
def test_captions_can_be_learnt_by_heart(kind: str) -> None:
    model, regions, words = captioner(kind), some_regions(), some_words(sequences=1, length=6)
    words[:, :, 0] = BOS
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
    for _ in range(120):
        optimizer.zero_grad()
        logits = model(regions, words[..., :-1])
        loss = F.cross_entropy(logits.flatten(0, 2), words[..., 1:].flatten())
        loss.backward()
        optimizer.step()
    assert logits.argmax(-1).equal(words[..., 1:])


@every
def test_an_image_without_regions_spoils_nothing(kind: str) -> None:
    """No store holds one; still, nothing may become NaN, least of all another image's gradient."""
    model, regions, words = captioner(kind), some_regions(), some_words()
    none = regions.mask.clone()
    none[1] = False
    logits, weights = steps(model, regions._replace(mask=none), words)
    assert logits.isfinite().all()
    assert not weights[1].any()
    close(logits[::2], model(regions, words)[::2])
    logits = model(regions._replace(mask=none), words)
    logits.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


@every
def test_dropout_is_for_training_only(kind: str) -> None:
    model, regions, words = captioner(kind), some_regions(), some_words()
    assert model(regions, words).equal(model(regions, words))
    torch.manual_seed(0)
    model.train()
    same = model(regions, words).equal(model(regions, words))
    assert same == kind.startswith("updown_caffe"), "the Caffe release has no dropout"


@every
def test_half_precision_says_nearly_the_same(kind: str) -> None:
    model, regions, words = captioner(kind), some_regions(), some_words()
    with torch.autocast("cpu", torch.bfloat16):
        half = model(regions, words).float()
        stepped = steps(model, regions, words)[0].float()
    torch.testing.assert_close(half, model(regions, words), atol=0.1, rtol=0.1)
    torch.testing.assert_close(stepped, half, atol=0.1, rtol=0.1)
