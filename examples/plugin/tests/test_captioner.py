"""The captioner computes its equations; padding and other images change nothing."""

import torch
from bua_luong.captioner import LuongCaptioner

from bua.decode import BeamSearch
from bua.inference.captioning import generate
from bua.structures.region_batch import RegionBatch

D, V, E, H, K = 7, 11, 6, 8, 4


def captioner() -> LuongCaptioner:
    torch.manual_seed(0)
    sizes = {"feature_size": D, "vocabulary_size": V, "word_size": E, "hidden_size": H}
    return LuongCaptioner(**sizes, dropout=0.3).eval()


def regions(*counts: int) -> RegionBatch:
    torch.manual_seed(1)
    mask = torch.arange(K) < torch.tensor(counts)[:, None]
    features = torch.randn(len(counts), K, D) * mask[..., None]
    return RegionBatch(features, mask, torch.zeros(len(counts), K, 4))


def reference(model: LuongCaptioner, features: torch.Tensor, words: list[int]) -> torch.Tensor:
    """Return the logits after every word of one image, computed from the equations one region at a time."""
    values = [torch.tanh(model.value.weight @ f + model.value.bias) for f in features]
    s = torch.tanh(model.first.weight @ (sum(values) / len(values)) + model.first.bias)
    h, logits = torch.zeros(H), []
    for word in words:
        s = model.gru(torch.cat([model.word.weight[word], h])[None], s[None])[0]
        alpha = torch.stack([s @ (model.key.weight @ v) for v in values]).softmax(0)
        context = sum(a * v for a, v in zip(alpha, values, strict=True))
        h = torch.tanh(model.combine.weight @ torch.cat([context, s]))
        logits.append(model.logits.weight @ h + model.logits.bias)
    return torch.stack(logits)


@torch.no_grad()
def test_the_logits_are_those_of_the_equations() -> None:
    model, batch, words = captioner(), regions(4, 2), torch.randint(V, (2, 3, 5))
    logits = model(batch, words)
    for image, count in enumerate((4, 2)):
        for caption in range(3):
            features = batch.features[image, :count]
            expected = reference(model, features, words[image, caption].tolist())
            torch.testing.assert_close(logits[image, caption], expected)


@torch.no_grad()
def test_steps_give_the_logits_of_whole_captions() -> None:
    model, batch, words = captioner(), regions(4, 2), torch.randint(V, (2, 3, 5))
    memory = model.encode(batch)
    step, state = model.make_step(memory), model.init_state(memory, 3)
    for t in range(5):
        logits, attention, state = step(words[:, :, t], state)
        torch.testing.assert_close(logits, model(batch, words)[:, :, t])
        torch.testing.assert_close(attention.sum(-1), torch.ones(2, 3))
        assert not attention[1, :, 2:].any()


def test_a_beam_search_runs_over_the_steps() -> None:
    found = generate([captioner()], [regions(4, 2)], BeamSearch(beam_size=3, max_length=6))
    assert found.words.shape[:2] == (2, 3)
