"""Self-critical training (Rennie et al. 2017): what a captioner says is made likelier the better it scores.

Shapes: B images, N captions an image, T words.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from bua.data.batch import CaptionBatch
from bua.data.captions.document_frequencies import caption_frequencies, save_frequencies
from bua.decode import DECODERS, Decoder, Hypotheses, Sampling, greedy, search_signature
from bua.errors import check_flag, check_kind, check_number
from bua.inference.generate import generate, make_step_function, resolve_rule_words
from bua.metrics.endings import BAD_ENDINGS
from bua.metrics.reward import bleu, cider_d, prepare
from bua.models.captioners.base import Captioner
from bua.tasks.captioning import CaptioningTask
from bua.tasks.losses import LossReduction
from bua.text.vocabulary import BOS, EOS, PADDING

log = logging.getLogger(__name__)

BASELINES = ("greedy", "mean", "others")


@dataclass(frozen=True)
class Reward:
    """What captions are rewarded for.

    Attributes:
        cider_d: weight of CIDEr-D, which is counted as usual, times 10.
        bleu_4: weight of BLEU-4 of the sentence.
        end: the end of a caption counts as a word of it, where it was said; it must then count in
            references and document frequencies, too. Without it captions learn to break off.
    """

    cider_d: float = 1.0
    bleu_4: float = 0.0
    end: bool = True

    def __post_init__(self) -> None:
        check_number("cider_d", self.cider_d)
        check_number("bleu_4", self.bleu_4)
        check_flag("end", self.end)
        if not self.cider_d + self.bleu_4:
            raise ValueError("rewards are for nothing: cider_d or bleu_4 must be above 0")


class SelfCriticalTask(CaptioningTask):
    """Policy gradient with what the captioner says itself as baseline.

    Args:
        model: a captioner, trained by cross-entropy.
        frequencies: file of the document frequencies of ``captions``, to save counting; ``None`` to count.
        sampler: says the captions that are learnt from: ``Sampling`` draws them, in training mode and
            with gradients; a beam search finds them in eval mode, and their likelihood is computed
            again in training mode.
        baseline: ``greedy``: the reward of the greedy caption in eval mode (Rennie et al. 2017);
            ``mean``: the mean reward of all captions of an image (Up-Down's Caffe release, with its
            beams); ``others``: the mean of the other ones (self-critical.pytorch's "new self critical").
        reward: what captions are rewarded for.
        normaliser: what the sum over words is divided by.
        kwargs: of ``CaptioningTask``.

    Raises:
        ValueError: an option is none of those, or the captions that are learnt from are the baseline.
    """

    def __init__(
        self,
        model: Captioner[Any, Any],
        *,
        frequencies: str | None,
        sampler: Decoder,
        baseline: str,
        reward: Reward,
        normaliser: LossReduction,
        **kwargs: Any,
    ) -> None:
        super().__init__(model, **kwargs)
        check_kind("sampler", sampler, *DECODERS)
        check_kind("reward", reward, Reward)
        check_kind("normaliser", normaliser, LossReduction)
        if baseline not in BASELINES:
            raise ValueError(f"there is no baseline {baseline!r}; there is {', '.join(BASELINES)}")
        if baseline != "greedy" and sampler.num_sequences < 2:
            raise ValueError(
                f"the baseline {baseline!r} needs sampler.num_samples (beam_size of a beam search) of at least 2"
            )
        _check_differs(sampler, baseline)
        self.sampler, self._said_by = resolve_rule_words(sampler, self.vocabulary), search_signature(sampler)
        self.baseline, self.reward, self.normaliser = baseline, reward, normaliser
        self._frequencies = caption_frequencies(
            self.captions, self.vocabulary, end=reward.end, path=frequencies
        )
        bad = [self.vocabulary.index(word) for word in sorted(BAD_ENDINGS)]
        self._bad = torch.tensor([index for index in bad if index is not None], dtype=torch.long)

    @property
    def signature(self) -> str:
        """In a line, what rewards are made of (after SacreEOS, Hu et al. 2023)."""
        kind = "+".join(f"{w:g}*{n}" for n, w in self._weights().items())
        return (
            f"{kind} | {'with' if self.reward.end else 'without'} end | {self._said_by} | "
            f"baseline {self.baseline} | frequencies of {self._frequencies.images} images, "
            f"{self._frequencies.signature[:12]}"
        )

    def _weights(self) -> dict[str, float]:
        return {n: w for n, w in (("CIDEr-D", self.reward.cider_d), ("BLEU-4", self.reward.bleu_4)) if w}

    def save(self, folder: Path) -> None:
        """Write the document frequencies, and what rewards mean."""
        path = folder / "document_frequencies.npz"
        save_frequencies(self._frequencies, self.captions, self.vocabulary, end=self.reward.end, path=path)
        (folder / "rewards.txt").write_text(self.signature + "\n")
        log.info(f"rewards: {self.signature}")

    def on_fit_start(self) -> None:
        """Bring the frequencies to the device of the model."""
        self._frequencies = self._frequencies.to(self.device)

    def training_step(self, batch: CaptionBatch, _: int) -> Tensor:
        """Return the loss whose gradient is that of the expected reward, but for its sign.

        So it is for captions drawn as the model has them; beams, a temperature, top-k, nucleus and rules
        make it an approximation, as in the published recipes.
        """
        found, entropy = self.sampled(batch)
        real = found.words != PADDING
        there = real.any(2)
        rewards = self.rewards(batch, found.words)
        baseline = self.baselines(batch, rewards, there)
        advantage = (rewards - baseline).masked_fill(~there, 0)
        loss = self.normaliser(-advantage.unsqueeze(2).to(found.word_log_prob) * found.word_log_prob, real)
        self._report(found.words, rewards, baseline, there)
        self.log("train/entropy", entropy, batch_size=len(batch.image_id))
        self.log("train/loss", loss, batch_size=len(batch.image_id))
        return loss

    def sampled(self, batch: CaptionBatch) -> tuple[Hypotheses, Float[Tensor, ""]]:
        """Return captions of each image, and the mean entropy of the model where it says a word of them.

        The log-probabilities of words carry gradients. The entropy is that of the whole vocabulary, in nats,
        whatever words are chosen by.
        """
        images = len(batch.image_id)
        if isinstance(self.sampler, Sampling):
            step, start = make_step_function(self.model, batch.regions)
            entropies: list[Tensor] = []

            def noted(words: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
                log_probs, weights, state = step(words, state)
                entropies.append(_entropy(log_probs.detach()))
                return log_probs, weights, state

            drawn = self.sampler(noted, start, images=images, device=batch.words.device)
            return drawn, torch.stack(entropies, 2)[drawn.words != PADDING].mean()
        with evaluating(self.model):
            found = generate([self.model], [batch.regions], self.sampler)
        read = torch.cat([torch.full_like(found.words[..., :1], BOS), found.words[..., :-1]], 2)
        real = found.words != PADDING
        log_probs = self.model(batch.regions, read, real).float().log_softmax(-1)
        chosen = torch.zeros(real.shape, device=real.device)
        chosen[real] = log_probs.gather(1, found.words[real].unsqueeze(1)).squeeze(1)
        found = found._replace(word_log_prob=chosen, log_prob=chosen.sum(2))
        return found, _entropy(log_probs.detach()).mean()

    def rewards(self, batch: CaptionBatch, words: Int[Tensor, "B N T"]) -> Float[Tensor, "B N"]:
        """Return the reward of every caption."""
        lengths, ended = spoken(words)
        theirs = batch.reference_lengths
        if self.reward.end:
            lengths = lengths + ended
            theirs = torch.where(theirs >= 0, theirs + 1, theirs)
        references = prepare(batch.reference_words, theirs, self._frequencies)
        total = torch.zeros(lengths.shape, dtype=torch.float64, device=words.device)
        if self.reward.cider_d:
            total = total + self.reward.cider_d * cider_d(words, lengths, references)
        if self.reward.bleu_4:
            total = total + self.reward.bleu_4 * bleu(words, lengths, references)
        return total

    def baselines(
        self, batch: CaptionBatch, rewards: Float[Tensor, "B N"], there: Bool[Tensor, "B N"]
    ) -> Float[Tensor, "B N"]:
        """Return what each reward is compared with."""
        if self.baseline == "greedy":
            with evaluating(self.model):
                said = generate(
                    [self.model], [batch.regions], greedy(self.sampler.max_length, self.sampler.rules)
                )
            return self.rewards(batch, said.words).expand_as(rewards)
        total, count = (rewards * there).sum(1, keepdim=True), there.sum(1, keepdim=True)
        if self.baseline == "mean":
            return (total / count.clamp(min=1)).expand_as(rewards)
        alone = count == 1  # nothing to compare with: no advantage
        return torch.where(alone, rewards, (total - rewards) / (count - 1).clamp(min=1))

    def validation_loss(self, batch: CaptionBatch, said: Hypotheses) -> Tensor:
        """Return minus the mean reward of the captions that validation says."""
        return -self.rewards(batch, said.words[:, :1]).mean()

    def _report(self, words: Tensor, rewards: Tensor, baseline: Tensor, there: Tensor) -> None:
        lengths, ended = spoken(words)
        last = words.gather(2, (lengths - 1).clamp(min=0).unsqueeze(2)).squeeze(2)
        bad = torch.isin(last, self._bad.to(last.device)) | (lengths == 0)
        values = {
            "reward": rewards,
            "baseline": baseline,
            "advantage": (rewards - baseline).abs(),
            "length": lengths,
            "unfinished": ~ended,
            "bad_endings": bad,
        }
        count = there.sum().clamp(min=1)
        for name, value in values.items():
            self.log(f"train/{name}", (value * there).double().sum() / count, batch_size=len(words))


def _entropy(log_probs: Float[Tensor, "... V"]) -> Float[Tensor, "..."]:
    entropy: Tensor = torch.special.entr(log_probs.exp()).sum(-1)
    return entropy


def spoken(words: Int[Tensor, "B N T"]) -> tuple[Int[Tensor, "B N"], Bool[Tensor, "B N"]]:
    """Return how many words captions have before their end, and which of them have one."""
    inside = (words != EOS).cumprod(2) * (words != PADDING)
    return inside.sum(2), (words == EOS).any(2)


def _check_differs(sampler: Decoder, baseline: str) -> None:
    """Raise ``ValueError`` where no caption could be better or worse than the baseline."""
    if isinstance(sampler, Sampling):
        if sampler.top_k == 1:
            raise ValueError("sampler.top_k is 1: one word can be drawn, which teaches nothing; 2 is needed")
    elif baseline == "greedy" and sampler.num_sequences == 1:
        raise ValueError(
            "the baseline 'greedy' is the caption that one beam finds, which teaches nothing; "
            "a sampler that draws, or sampler.num_samples (beam_size of a beam search) of at least 2, is needed"
        )


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into eval mode for a while."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
