"""Models, gradients, decoding, rewards, a detector and predictions agree between GPU and CPU."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bua.decode import BeamSearch, DiverseBeamSearch, Rules, Sampling, build_automaton, greedy
from bua.detectors.pyramid import PyramidDetector
from bua.detectors.selection import Selection
from bua.engine.loading import read_checkpoint
from bua.inference.captioning import generate
from bua.metrics.reward import bleu, cider_d, document_frequencies, prepare_references
from bua.tasks.self_critical import Reward
from bua.text import BOS, PADDING
from tests.helpers.coco_scorers import reward_batch
from tests.helpers.commands import run_ok
from tests.helpers.data import caption_data, first_batch
from tests.helpers.models import CAPTIONERS, VQA_MODELS, captioner, random_regions, random_words, vqa_model
from tests.helpers.tasks import self_critical_task

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

SEARCHES = {
    "greedy": greedy(6),
    "retire": BeamSearch(3, 6),
    "compete": BeamSearch(3, 6, "compete", Rules(min_length=2, allow_repeat=False)),
    "constrained": BeamSearch(3, 6),
    "diverse": DiverseBeamSearch(4, 2, 0.5, 6),
}


@pytest.fixture(autouse=True)
def _without_tf32(monkeypatch) -> None:
    """Disable TF32, which convolutions and LSTMs use by default."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def on_gpu(model: torch.nn.Module) -> torch.nn.Module:
    return copy.deepcopy(model).cuda()


@pytest.mark.parametrize("kind", CAPTIONERS)
def test_captioners_and_their_gradients_agree(kind: str) -> None:
    model, regions, words = captioner(kind), random_regions(), random_words()
    other = on_gpu(model)
    for one, device in ((model, "cpu"), (other, "cuda")):
        one(regions.to(device), words.to(device)).square().sum().backward()
    torch.testing.assert_close(
        other(regions.to("cuda"), words.cuda()).cpu(), model(regions, words), atol=1e-4, rtol=1e-4
    )
    for cpu, gpu in zip(model.parameters(), other.parameters(), strict=True):
        if cpu.grad is not None:
            torch.testing.assert_close(gpu.grad.cpu(), cpu.grad, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize("kind", CAPTIONERS)
def test_decoded_words_attention_and_probabilities_agree(kind: str, name: str) -> None:
    model, regions = captioner(kind), random_regions()
    options = (
        {"automaton": build_automaton([[[(4,)]], [[(5, 6)], [(7,)]], []])} if name == "constrained" else {}
    )
    cpu = generate([model], [regions], SEARCHES[name], **options)
    options = {key: value.to("cuda") for key, value in options.items()}
    gpu = generate([on_gpu(model)], [regions.to("cuda")], SEARCHES[name], **options)
    assert gpu.words.tolist() == cpu.words.tolist()
    for field in ("score", "log_prob", "word_log_prob", "weights"):
        torch.testing.assert_close(getattr(gpu, field).cpu(), getattr(cpu, field), atol=1e-4, rtol=1e-4)


def test_samples_have_the_probabilities_of_the_model() -> None:
    model, regions = on_gpu(captioner("updown")), random_regions().to("cuda")
    found = generate([model], [regions], Sampling(50, 6))
    words = torch.nn.functional.pad(found.words, (1, 0), value=BOS)
    log_probs = model(regions, words[..., :-1]).log_softmax(-1)
    expected = log_probs.gather(3, words[..., 1:].unsqueeze(3)).squeeze(3) * (found.words != PADDING)
    torch.testing.assert_close(found.word_log_prob, expected, atol=1e-4, rtol=1e-4)
    assert len({tuple(one) for one in found.words.flatten(0, 1).tolist()}) > 20


@pytest.mark.parametrize("size", [7, 9488])
def test_rewards_agree_to_the_last_digits(size: int) -> None:
    rng = np.random.default_rng(0)

    def captions(count: int) -> list[list[int]]:
        return [(rng.zipf(1.3, rng.integers(0, 17)) % size).tolist() for _ in range(count)]

    hypotheses, references = [captions(20) for _ in range(200)], [captions(5) for _ in range(200)]
    table = document_frequencies(references, size)
    words, lengths, prepared = reward_batch(hypotheses, references, table)
    gpu = prepare_references(*(part.cuda() for part in _padded(references)), table.to("cuda"))
    for reward in (cider_d, bleu):
        cpu = reward(words, lengths, prepared)
        assert float(cpu.max()) > 0
        torch.testing.assert_close(reward(words.cuda(), lengths.cuda(), gpu).cpu(), cpu, atol=1e-9, rtol=1e-9)


def _padded(references: list[list[list[int]]]) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(len(caption) for image in references for caption in image)
    filled = [[caption + [0] * (longest - len(caption)) for caption in image] for image in references]
    return torch.tensor(filled), torch.tensor([[len(caption) for caption in image] for image in references])


@pytest.mark.parametrize("baseline", ["greedy", "mean"])
def test_self_critical_steps_agree(baseline: str, scenes) -> None:
    data = caption_data(scenes)
    given = first_batch(data, "train")
    losses, gradients = [], []
    for device in ("cpu", "cuda"):
        options = {"sampler": BeamSearch(3, 8), "baseline": baseline, "reward": Reward(1.0, 0.5)}
        task = self_critical_task(data, **options).to(device)
        task.on_fit_start()
        task.model.eval()
        loss = task.training_step(task.transfer_batch_to_device(given, torch.device(device), 0), 0)
        loss.backward()
        losses.append(float(loss))
        gradients.append([parameter.grad.cpu() for parameter in task.model.parameters()])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3, abs=1e-5)
    for cpu, gpu in zip(*gradients, strict=True):
        torch.testing.assert_close(gpu, cpu, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("kind", VQA_MODELS)
def test_vqa_models_and_their_gradients_agree(kind: str) -> None:
    model, regions, words = vqa_model(kind), random_regions(), random_words()[:, 0]
    other = on_gpu(model)
    cpu, gpu = model(regions, words), other(regions.to("cuda"), words.cuda())
    for found, expected in zip(gpu, cpu, strict=True):
        torch.testing.assert_close(found.cpu(), expected, atol=1e-4, rtol=1e-4)
    with torch.backends.cudnn.flags(
        enabled=False
    ):  # cuDNN computes no gradients of an LSTM in evaluation mode
        gpu = other(regions.to("cuda"), words.cuda())
        for logits, _ in (cpu, gpu):
            logits.square().sum().backward()
    for parameter, its in zip(model.parameters(), other.parameters(), strict=True):
        if parameter.grad is not None:
            torch.testing.assert_close(its.grad.cpu(), parameter.grad, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("kind", ["updown", "transformer"])
@pytest.mark.parametrize("mixed", [False, True], ids=["full", "mixed"])
def test_compiled_models_agree_in_full_and_mixed_precision(kind: str, mixed: bool) -> None:
    model = on_gpu(captioner(kind))
    compiled = copy.deepcopy(model)
    compiled.compile()
    for counts, length in (([5, 2, 4], 4), ([4, 3], 5)):
        regions, words = random_regions(counts).to("cuda"), random_words(len(counts), length=length).cuda()
        with torch.autocast("cuda", torch.bfloat16, enabled=mixed):
            found = compiled(regions, words).float()
        expected = model(regions, words)
        assert not (mixed and torch.equal(found, expected))
        torch.testing.assert_close(found, expected, atol=0.1 if mixed else 1e-3, rtol=0.1 if mixed else 1e-3)


def test_the_regions_of_an_image_agree() -> None:
    rule = Selection(min_regions=10, max_regions=20, threshold=0.2, nms_iou=0.3, pixel=1)
    rng = np.random.default_rng(0)
    image = np.kron(rng.integers(0, 256, (6, 8, 3)), np.ones((40, 40, 1))).astype(np.uint8)
    found = []
    for device in ("cpu", "cuda"):
        detector = PyramidDetector(name="scenes_fpn", weights=None, selection=rule, device=device)
        found += detector([detector.resize.prepare(image, None)])
    cpu, gpu = found
    np.testing.assert_allclose(gpu.boxes, cpu.boxes, atol=0.1)
    np.testing.assert_allclose(gpu.features, cpu.features, atol=1e-2, rtol=1e-2)


def training(scenes: Path, run: Path, *more: str) -> list[str]:
    small = ["model.word_size=8", "model.hidden_size=12", "model.attention_size=6", "trainer.max_epochs=2"]
    trainer = ["trainer.accelerator=gpu", "scheduler=constant"]
    return ["train", "experiment=caption_scenes", f"scenes={scenes}", f"out={run}", *small, *trainer, *more]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_a_resumed_run_ends_like_an_uninterrupted_one(precision: str, scenes, tmp_path) -> None:
    option = f"trainer.precision={precision}"
    run_ok(*training(scenes, tmp_path / "whole", option))
    run_ok(*training(scenes, tmp_path / "cut", option, "trainer.max_epochs=1"))
    run_ok(*training(scenes, tmp_path / "cut", option, "resume=true"))
    _, whole = read_checkpoint(tmp_path / "whole/checkpoints/last.ckpt")
    _, cut = read_checkpoint(tmp_path / "cut/checkpoints/last.ckpt")
    for name, weight in whole.items():
        torch.testing.assert_close(cut[name].cpu(), weight.cpu(), atol=1e-4, rtol=1e-3)


def test_predictions_of_trained_models_agree(scenes, tmp_path) -> None:
    run_ok(*training(scenes, tmp_path / "xe"))
    rewards = ["objective=self_critical", f"init_from={tmp_path}/xe", "optimizer.lr=1e-3"]
    run_ok(*training(scenes, tmp_path / "scst", *rewards))
    questions = ["model.word_size=8", "model.hidden_size=12", "data.answers.min_count=2"]
    trainer = ["trainer.accelerator=gpu", "trainer.max_epochs=1", "data.batch_size=32"]
    run_ok("train", "experiment=vqa_scenes", f"scenes={scenes}", f"out={tmp_path}/vqa", *questions, *trainer)
    for run in ("xe", "scst", "vqa"):
        predictions = []
        for device in ("cpu", "cuda"):
            out = tmp_path / f"{run}-{device}.json"
            run_ok(
                "predict",
                f"run={tmp_path}/{run}",
                "split=val",
                f"out={out}",
                f"device={device}",
                "scores=true",
            )
            predictions.append(json.loads(out.read_text()))
        cpu, gpu = predictions
        assert len(cpu) >= 8
        for one, other in zip(cpu, gpu, strict=True):
            for key in one:
                expected = pytest.approx(one[key], abs=2e-3) if isinstance(one[key], float) else one[key]
                assert other[key] == expected
