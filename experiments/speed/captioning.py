"""Measure captioning: training, search and rewards, each against how it is usually written."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from bua.data.batch import CaptionBatch
from pycocoevalcap.cider.cider_scorer import CiderScorer
from torch import Tensor, nn
from torch.nn import functional as F

from bua.decode import BeamSearch, Rules, Sampling, greedy
from bua.inference.generate import make_step_function
from bua.metrics.reward import cider_d, document_frequencies, pad_captions, prepare_references
from bua.models.captioners.base import Captioner
from bua.models.captioners.recurrent import LstmWeights
from bua.models.captioners.updown import UpDownCaptioner
from bua.structures.region_batch import RegionBatch
from bua.tasks.losses import LossReduction
from bua.tasks.self_critical import Reward, SelfCriticalTask
from bua.text.vocabulary import BOS, EOS, PADDING, SPECIAL, UNKNOWN, Vocabulary

Timer = Callable[[Callable[[], Any], int], float]
Row = dict[str, str]
#: Words of the vocabulary of self-critical.pytorch.
WORDS = 9488
#: Words of a sample, its end among them.
SAID = 11
NAMES = {"cpu": "the processor", "cuda": "the GPU"}


def finished(function: Callable[[], Any], device: str) -> Callable[[], None]:
    """Return a function that waits for the device."""

    def waiting() -> None:
        function()
        if device == "cuda":
            torch.cuda.synchronize()

    return waiting


@torch.no_grad()
def whole(parts: LstmWeights) -> nn.LSTMCell:
    """Return the cell of the same weights."""
    inputs = torch.cat(list(parts.of.values()), 1)
    cell = nn.LSTMCell(inputs.shape[1], parts.of_state.shape[1])
    cell.weight_ih.copy_(inputs)
    cell.weight_hh.copy_(parts.of_state)
    cell.bias_ih.copy_(parts.bias_ih)
    cell.bias_hh.copy_(parts.bias_hh)
    return cell


class PlainUpDown(nn.Module):
    """The captioner as it is usually transcribed: one LSTMCell call and one logit layer a word."""

    def __init__(self, model: UpDownCaptioner) -> None:
        super().__init__()
        self.m = model
        self.attention_lstm, self.language_lstm = whole(model.attention_lstm), whole(model.language_lstm)

    def forward(self, regions: RegionBatch, words: Tensor) -> Tensor:
        """Return logits (B x N, T, V)."""
        m, n = self.m, words.shape[1]
        features, mask, _ = regions
        v = m.dropout(m.region(features).relu()).repeat_interleave(n, 0)
        keys = m.key(v)
        mean = (features * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
        mean = m.dropout(m.mean(mean).relu()).repeat_interleave(n, 0)
        real, words = mask.repeat_interleave(n, 0), words.flatten(0, 1)
        h1 = c1 = h2 = c2 = v.new_zeros(len(v), m.hidden_size)
        out = []
        for t in range(words.shape[1]):
            x = m.dropout(m.word(words[:, t]).relu())
            h1, c1 = self.attention_lstm(torch.cat([h2, mean, x], 1), (h1, c1))
            scores = m.attention.score(torch.tanh(keys + m.attention.query(h1).unsqueeze(1))).squeeze(-1)
            weights = scores.masked_fill(~real, -1e9).softmax(1)
            attended = torch.bmm(weights.unsqueeze(1), v).squeeze(1)
            h2, c2 = self.language_lstm(torch.cat([attended, h1], 1), (h2, c2))
            out.append(m.logits(m.dropout(h2)))
        return torch.stack(out, 1)


def random_regions(images: int) -> RegionBatch:
    """Return 36 regions an image."""
    mask = torch.ones(images, 36, dtype=torch.bool)
    return RegionBatch(torch.randn(images, 36, 2048), mask, torch.rand(images, 36, 4))


def captioner() -> UpDownCaptioner:
    """Return the captioner of self-critical.pytorch, untrained."""
    torch.manual_seed(0)
    return UpDownCaptioner(
        feature_size=2048,
        vocabulary_size=WORDS,
        word_size=1000,
        hidden_size=1000,
        attention_size=512,
        dropout=0.5,
    )


def fastest(functions: list[Callable[[], Any]], turns: int) -> list[float]:
    """Return the least seconds that each function took in so many turns, after one that does not count."""
    taken: list[list[float]] = [[] for _ in functions]
    for turn in range(turns + 1):
        for function, times in zip(functions, taken, strict=True):
            started = time.perf_counter()
            function()
            if turn:
                times.append(time.perf_counter() - started)
    return [min(times) for times in taken]


def cross_entropy() -> Row:
    """Time forward and backward of 10 images with 5 captions each."""
    model, words = captioner(), torch.randint(4, WORDS, (10, 5, 18))
    regions, plain = random_regions(10), PlainUpDown(model)

    def step(run: nn.Module) -> None:
        logits = run(regions, words[..., :-1]).reshape(-1, WORDS)
        F.cross_entropy(logits, words[..., 1:].reshape(-1)).backward()
        run.zero_grad()

    slow, fast = fastest([lambda: step(plain), lambda: step(model)], 7)
    return {
        "what": "cross-entropy step of the Up-Down captioner (1000/1000/512, 36 x 2048, 9,488 words, "
        "10 x 5 captions), against a plain loop of `LSTMCell`",
        "value": f"{slow / fast:.2f} times as fast",
        "wanted": "1.8 times",
    }


def ending(step: int) -> float:
    """Return what is added to the end's logit, so that captions have about ten words."""
    return 1.2 * step - 12


class Ending(nn.Module):
    """A captioner whose captions end after some ten words: an untrained one never would."""

    def __init__(self, model: Captioner[Any, Any]) -> None:
        super().__init__()
        self.m, self.said = model, 0

    def encode(self, regions: RegionBatch) -> Any:
        """Begin again."""
        self.said = 0
        return self.m.encode(regions)

    def init_state(self, memory: Any, sequences: int) -> Any:
        """Return the state before the first word."""
        return self.m.init_state(memory, sequences)

    def make_step(self, memory: Any) -> Callable[[Tensor, Any], tuple[Tensor, Tensor, Any]]:
        """Return a step that says the end with more and more certainty."""
        step = self.m.make_step(memory)

        def reading(words: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
            logits, weights, state = step(words, state)
            self.said += 1
            logits[..., EOS] += ending(self.said)
            return logits, weights, state

        return reading


def plain_beam(plain: PlainUpDown, regions: RegionBatch, width: int, longest: int) -> list[list[int]]:
    """Search one image after the other, its regions repeated for every beam, as it is usually written."""
    m, captions = plain.m, []
    for b in range(len(regions.features)):
        v = m.region(regions.features[b : b + 1]).relu().expand(width, -1, -1)
        mean = m.mean(regions.features[b : b + 1].mean(1)).relu().expand(width, -1)
        keys = m.key(v)
        h1 = c1 = h2 = c2 = v.new_zeros(width, m.hidden_size)
        last, total = torch.full((width,), BOS), torch.zeros(width, 1)
        seqs: Tensor = torch.zeros(width, 0, dtype=torch.long)
        done: list[tuple[float, list[int]]] = []
        for t in range(longest):
            x = m.word(last).relu()
            h1, c1 = plain.attention_lstm(torch.cat([h2, mean[: len(last)], x], 1), (h1, c1))
            scores = m.attention.score(torch.tanh(keys[: len(last)] + m.attention.query(h1).unsqueeze(1)))
            weights = scores.squeeze(-1).softmax(1)
            attended = torch.bmm(weights.unsqueeze(1), v[: len(last)]).squeeze(1)
            h2, c2 = plain.language_lstm(torch.cat([attended, h1], 1), (h2, c2))
            logits = m.logits(h2)
            logits[:, EOS] += ending(t + 1)
            log_probs = total + logits.log_softmax(1)
            log_probs[:, [PADDING, BOS, UNKNOWN]] = -torch.inf
            best, index = (log_probs[:1] if t == 0 else log_probs).flatten().topk(width)
            parent, words = index // WORDS, index % WORDS
            seqs = torch.cat([seqs[parent], words.unsqueeze(1)], 1)
            over = words == EOS
            done += [(float(best[n]), seqs[n].tolist()) for n in over.nonzero().flatten().tolist()]
            live = (~over).nonzero().flatten()
            if len(done) >= width or not len(live):
                break
            parent, last, seqs, total = parent[live], words[live], seqs[live], best[live].unsqueeze(1)
            h1, c1, h2, c2 = h1[parent], c1[parent], h2[parent], c2[parent]
        captions.append(max(done, default=(0.0, seqs[0].tolist()))[1])
    return captions


@torch.no_grad()
def plain_batched_beam(plain: PlainUpDown, regions: RegionBatch, width: int, longest: int) -> list[list[int]]:
    """Search all images at once, their regions repeated for every beam, until the last has its captions."""
    m, images = plain.m, len(regions.features)
    v = m.region(regions.features).relu().repeat_interleave(width, 0)
    mean = m.mean(regions.features.mean(1)).relu().repeat_interleave(width, 0)
    keys = m.key(v)
    h1 = c1 = h2 = c2 = v.new_zeros(images * width, m.hidden_size)
    last, total = torch.full((images * width,), BOS), torch.full((images, width), -torch.inf)
    total[:, 0] = 0
    seqs = torch.zeros(images * width, 0, dtype=torch.long)
    done: list[list[tuple[float, list[int]]]] = [[] for _ in range(images)]
    for t in range(longest):
        h1, c1 = plain.attention_lstm(torch.cat([h2, mean, m.word(last).relu()], 1), (h1, c1))
        scores = m.attention.score(torch.tanh(keys + m.attention.query(h1).unsqueeze(1)))
        attended = torch.bmm(scores.squeeze(-1).softmax(1).unsqueeze(1), v).squeeze(1)
        h2, c2 = plain.language_lstm(torch.cat([attended, h1], 1), (h2, c2))
        logits = m.logits(h2)
        logits[:, EOS] += ending(t + 1)
        log_probs = total.view(-1, 1) + logits.log_softmax(1)
        log_probs[:, [PADDING, BOS, UNKNOWN]] = -torch.inf
        total, index = log_probs.view(images, -1).topk(width)
        rows = (index // WORDS + width * torch.arange(images).unsqueeze(1)).flatten()
        last = (index % WORDS).flatten()
        seqs = torch.cat([seqs[rows], last.unsqueeze(1)], 1)
        over = last.view(images, width) == EOS
        for b, n in over.nonzero().tolist():
            done[b].append((float(total[b, n]), seqs[b * width + n].tolist()))
        if all(len(one) >= width for one in done):
            break
        total = total.masked_fill(over, -torch.inf)
        h1, c1, h2, c2 = h1[rows], c1[rows], h2[rows], c2[rows]
    return [max(one, default=(0.0, seqs[b * width].tolist()))[1] for b, one in enumerate(done)]


@torch.no_grad()
def beam_search(seconds: Timer) -> list[Row]:
    """Time beam search with 5 beams over 50 images."""
    model, regions = captioner().eval(), random_regions(50)
    plain = PlainUpDown(model)
    search = BeamSearch(5, 20)

    def ours() -> None:
        step, state = make_step_function(Ending(model), regions)
        search(step, state, images=50)

    loops = {
        "over one image after the other": (plain_beam, 1, "4 times"),
        "over all images at once": (plain_batched_beam, 3, ""),
    }
    rows, taken = [], seconds(ours, 3)
    for how, (plainly, times, wanted) in loops.items():
        ratio = seconds(partial(plainly, plain, regions, 5, 20), times) / taken
        what = (
            "beam search, 5 beams, 50 images, the same captioner, captions of 10 words, against a plain loop"
        )
        what += f" of `LSTMCell` {how}"
        rows.append({"what": what, "value": f"{ratio:.1f} times as fast", "wanted": wanted})
    return rows


def rewards(seconds: Timer) -> Row:
    """Time CIDEr-D of 5 captions of each of 100 images, their words being as frequent as words are."""
    rng = np.random.default_rng(0)

    def caption(length: int) -> list[int]:
        return (rng.zipf(1.5, length) % WORDS).tolist()

    references = [[caption(12) for _ in range(5)] for _ in range(5000)]
    said = [[caption(11) for _ in range(5)] for _ in range(100)]
    table = document_frequencies(references, WORDS)
    words, lengths = (part.unflatten(0, (100, 5)) for part in pad_captions([c for image in said for c in image]))
    theirs = [part.unflatten(0, (100, 5)) for part in pad_captions([c for image in references[:100] for c in image])]

    def text(words: list[int]) -> str:
        return " ".join(f"w{word}" for word in words)

    def scorer() -> None:
        one = CiderScorer(n=4, sigma=6.0)
        for image, truth in zip(said, references, strict=False):
            for words in image:
                one += (text(words), [text(words) for words in truth])
        one.compute_score()

    ratio = seconds(scorer, 5) / seconds(lambda: cider_d(words, lengths, prepare_references(*theirs, table)), 50)
    return {
        "what": "CIDEr-D rewards of 500 captions of 100 images, the n-grams of the references being counted "
        "anew as in training, against pycocoevalcap's scorer",
        "value": f"{ratio:.0f} times as fast",
        "wanted": "50 times",
    }


def self_critical(model: Captioner[Any, Any], regions: RegionBatch) -> tuple[SelfCriticalTask, CaptionBatch]:
    """Return training on rewards, 5 samples of 11 words an image, and a batch."""
    rng, names = np.random.default_rng(0), [f"w{n}" for n in range(WORDS - len(SPECIAL))]
    device, images = regions.features.device, range(len(regions.features))

    def caption() -> str:
        return " ".join(names[n] for n in rng.zipf(1.5, SAID - 1) % len(names))

    vocabulary = Vocabulary(names, "karpathy")
    captions = {image: [caption() for _ in range(5)] for image in range(5000)}
    task = SelfCriticalTask(
        model,
        vocabulary=vocabulary,
        captions=captions,
        decoder=greedy(SAID),
        sampler=Sampling(5, SAID, rules=Rules(min_length=SAID - 1)),
        baseline="others",
        reward=Reward(),
        frequencies=None,
        normaliser=LossReduction(),
        optimizer=partial(torch.optim.Adam, lr=5e-5),
        scheduler=None,
        record={},
    ).to(device)
    task.log = lambda *_, **__: None  # there is no trainer
    task.on_fit_start()
    flat = pad_captions([[*vocabulary.encode(text), EOS] for image in images for text in captions[image]])
    words, lengths = (part.unflatten(0, (len(images), 5)).to(device) for part in flat)
    return task, CaptionBatch(
        image_id=list(images),
        regions=regions,
        words=words,
        references=[captions[image] for image in images],
        reference_words=words,
        reference_lengths=lengths - 1,
    )


def learning(task: SelfCriticalTask, batch: CaptionBatch) -> Callable[[], None]:
    """Return a step of training: what is said, its rewards, backward, Adam."""
    optimizer = torch.optim.Adam(task.parameters(), lr=5e-5)

    def step() -> None:
        optimizer.zero_grad()
        task.training_step(batch, 0).backward()
        optimizer.step()

    return step


def reward_share(seconds: Timer, device: str = "cpu") -> Row:
    """Time a self-critical step of 10 images with 5 samples each, and the rewards in it."""
    task, batch = self_critical(captioner().to(device), random_regions(10).to(device))
    said = torch.randint(4, WORDS, (10, 5, SAID), device=device)
    functions = (lambda: task.rewards(batch, said), learning(task, batch))
    waited = [finished(function, device) for function in functions]
    share = seconds(waited[0], 20) / seconds(waited[1], 3 if device == "cpu" else 20)
    return {
        "what": f"rewards in a self-critical step on {NAMES[device]}, the same captioner, 10 images x 5 "
        f"samples of {SAID} words",
        "value": f"{100 * share:.2f}%",
        "wanted": "5 % at most",
    }


def captioning(seconds: Timer) -> list[Row]:
    """Measure everything here."""
    return [cross_entropy(), *beam_search(seconds), rewards(seconds), reward_share(seconds)]
