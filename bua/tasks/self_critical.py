"""Self-critical training (Rennie et al. 2017): a caption becomes more likely the better its reward.

Shapes: B images, N captions per image, T words, V vocabulary.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from bua.data.captions.dataset import CaptionBatch, pad_references
from bua.data.captions.document_frequencies import caption_frequencies, save_frequencies
from bua.decode import DECODERS, Decoder, Hypotheses, Sampling, greedy, resolve_rule_words, search_signature
from bua.errors import check_flag, check_kind, check_number
from bua.inference.captioning import generate, make_step_function
from bua.io.write import write_text
from bua.metrics.endings import BAD_ENDINGS
from bua.metrics.reward import bleu, cider_d, prepare_references
from bua.models.captioners.base import Captioner
from bua.tasks.captioning import CaptioningTask, LossReduction
from bua.text.vocabulary import BOS, EOS, PADDING

log = logging.getLogger(__name__)

#: Baselines of rewards.
BASELINES = ("greedy", "mean", "leave_one_out")


@dataclass(frozen=True)
class Reward:
    """Reward of captions, a weighted sum of metrics.

    Attributes:
        cider_d: Weight of CIDEr-D, which is multiplied by 10, as usual.
        bleu_4: Weight of sentence BLEU-4.
        include_eos: Whether the end token of a caption counts as a word, also in references and document
            frequencies. Without it, the model learns to break captions off.
        raw_references: Whether words of references that the vocabulary lacks are told apart, as in Up-Down's
            Caffe release; otherwise they are all one word, as in self-critical.pytorch.

    Raises:
        ValueError: If a weight is negative, or both are 0.
    """

    cider_d: float = 1.0
    bleu_4: float = 0.0
    include_eos: bool = True
    raw_references: bool = False

    def __post_init__(self) -> None:
        check_number("cider_d", self.cider_d)
        check_number("bleu_4", self.bleu_4)
        check_flag("include_eos", self.include_eos)
        check_flag("raw_references", self.raw_references)
        if not self.cider_d + self.bleu_4:
            raise ValueError("cider_d or bleu_4 must be above 0, or there is no reward")


class SelfCriticalTask(CaptioningTask):
    """Policy gradient training with a baseline from the captioner's own captions.

    The loss of a caption w is -(r(w) - b) log p(w) (Rennie et al. 2017, equations 5 to 9), where r is the
    reward and b the baseline.

    Args:
        model: Captioner, trained by cross-entropy.
        document_frequencies: File of the document frequencies of ``captions``; ``None`` to count them.
        sampler: Decoding algorithm that generates the training captions. ``Sampling`` draws them in training
            mode and with gradients; beam search finds them in eval mode, and their likelihood is computed
            again in training mode.
        baseline: ``greedy``: the reward of the greedy caption in eval mode (Rennie et al. 2017); ``mean``:
            the mean reward of all captions of an image (Up-Down's Caffe release, with its beams);
            ``leave_one_out``: the mean over the other captions (self-critical.pytorch's "new self critical").
        reward: Reward of captions.
        reduction: Normalization of the loss.
        kwargs: Arguments of ``CaptioningTask``.

    Raises:
        InputError: If the file of document frequencies is damaged or belongs to other captions.
        ValueError: If an option has the wrong type or value, or the training captions equal the baseline.
    """

    def __init__(
        self,
        model: Captioner[Any, Any],
        *,
        document_frequencies: str | None,
        sampler: Decoder,
        baseline: str,
        reward: Reward,
        reduction: LossReduction,
        **kwargs: Any,
    ) -> None:
        super().__init__(model, **kwargs)
        check_kind("sampler", sampler, *DECODERS)
        check_kind("reward", reward, Reward)
        check_kind("reduction", reduction, LossReduction)
        if baseline not in BASELINES:
            raise ValueError(f"baseline must be one of {', '.join(BASELINES)}, got {baseline!r}")
        if baseline != "greedy" and sampler.num_sequences < 2:
            raise ValueError(
                f"the baseline {baseline!r} needs sampler.num_samples (or beam_size) of at least 2"
            )
        _check_differs(sampler, baseline)
        self.sampler = resolve_rule_words(sampler, self.vocabulary)
        self._sampler_signature = search_signature(sampler)
        self.baseline, self.reward, self.reduction = baseline, reward, reduction
        texts = chain.from_iterable(self.captions.values()) if reward.raw_references else ()
        self._all_words = self.vocabulary.with_words(texts)  # in which references are compared
        self._frequencies = caption_frequencies(
            self.captions, self._all_words, include_eos=reward.include_eos, path=document_frequencies
        )
        bad = [self.vocabulary.index(word) for word in sorted(BAD_ENDINGS)]
        self._bad = torch.tensor([index for index in bad if index is not None], dtype=torch.long)

    @property
    def signature(self) -> str:
        """One line with everything that rewards depend on (after SacreEOS, Hu et al. 2023)."""
        kind = "+".join(f"{w:g}*{n}" for n, w in self._weights().items())
        return (
            f"{kind} | {'with' if self.reward.include_eos else 'without'} EOS | "
            f"{'raw references | ' if self.reward.raw_references else ''}{self._sampler_signature} | "
            f"baseline {self.baseline} | frequencies of {self._frequencies.num_images} images, "
            f"{self._frequencies.signature[:12]}"
        )

    def _weights(self) -> dict[str, float]:
        return {n: w for n, w in (("CIDEr-D", self.reward.cider_d), ("BLEU-4", self.reward.bleu_4)) if w}

    def save(self, folder: Path) -> None:
        """Write the document frequencies and the signature of the rewards to a run directory."""
        path = folder / "document_frequencies.npz"
        save_frequencies(
            self._frequencies,
            self.captions,
            self._all_words,
            include_eos=self.reward.include_eos,
            path=path,
        )
        write_text(folder / "rewards.txt", self.signature + "\n")
        log.info(f"rewards: {self.signature}")

    def on_fit_start(self) -> None:
        """Move the document frequencies to the device of the model."""
        self._frequencies = self._frequencies.to(self.device)

    def training_step(self, batch: CaptionBatch, _: int) -> Tensor:
        """Return the loss, whose gradient is minus that of the expected reward.

        This holds for captions drawn from the model's own distribution; beams, a temperature, top-k, top-p
        and rules make it an approximation, as in the published recipes.
        """
        sampled, entropy = self.sample(batch)
        is_word = sampled.words != PADDING
        is_caption = is_word.any(2)
        rewards = self.rewards(batch, sampled.words)
        baseline = self.baselines(batch, rewards, is_caption)
        advantage = (rewards - baseline).masked_fill(~is_caption, 0)
        log_prob = sampled.word_log_prob
        loss = self.reduction(-advantage.unsqueeze(2).to(log_prob) * log_prob, is_word)
        self._log_statistics(sampled.words, rewards, baseline, is_caption)
        self.log("train/entropy", entropy, batch_size=len(batch.image_id))
        self.log("train/loss", loss, batch_size=len(batch.image_id))
        return loss

    def sample(self, batch: CaptionBatch) -> tuple[Hypotheses, Float[Tensor, ""]]:
        """Return captions of each image, and the mean entropy of the model over their words.

        The log-probabilities of words carry gradients. The entropy, in nats, is that of the model's
        distribution over the whole vocabulary, however the words are chosen.
        """
        images = len(batch.image_id)
        if isinstance(self.sampler, Sampling):
            step, state = make_step_function(self.model, batch.regions)
            entropies: list[Tensor] = []

            def recording_step(words: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
                log_probs, weights, state = step(words, state)
                entropies.append(_entropy(log_probs.detach()))
                return log_probs, weights, state

            drawn = self.sampler(recording_step, state, images=images, device=batch.words.device)
            return drawn, torch.stack(entropies, 2)[drawn.words != PADDING].mean()
        with eval_mode(self.model):
            found = generate([self.model], [batch.regions], self.sampler)
        read = torch.cat([torch.full_like(found.words[..., :1], BOS), found.words[..., :-1]], 2)
        is_word = found.words != PADDING
        log_probs = self.model(batch.regions, read, is_word).float().log_softmax(-1)
        chosen = torch.zeros(is_word.shape, device=is_word.device)
        chosen[is_word] = log_probs.gather(1, found.words[is_word].unsqueeze(1)).squeeze(1)
        found = found._replace(word_log_prob=chosen, log_prob=chosen.sum(2))
        return found, _entropy(log_probs.detach()).mean()

    def rewards(self, batch: CaptionBatch, words: Int[Tensor, "B N T"]) -> Float[Tensor, "B N"]:
        """Return the reward of every caption."""
        lengths, ended = count_words(words)
        reference_words, reference_lengths = self._references(batch)
        if self.reward.include_eos:
            lengths = lengths + ended
            reference_lengths = torch.where(reference_lengths >= 0, reference_lengths + 1, reference_lengths)
        references = prepare_references(reference_words, reference_lengths, self._frequencies)
        total = torch.zeros(lengths.shape, dtype=torch.float64, device=words.device)
        if self.reward.cider_d:
            total = total + self.reward.cider_d * cider_d(words, lengths, references)
        if self.reward.bleu_4:
            total = total + self.reward.bleu_4 * bleu(words, lengths, references)
        return total

    def _references(self, batch: CaptionBatch) -> tuple[Int[Tensor, "B R S"], Int[Tensor, "B R"]]:
        """Return the references in the words that they are compared by, and their lengths."""
        if not self.reward.raw_references:
            return batch.reference_words, batch.reference_lengths
        encoded = [[self._all_words.encode(text) for text in image] for image in batch.references]
        words, lengths = pad_references(encoded)
        return words.to(batch.words.device), lengths.to(batch.words.device)

    def baselines(
        self, batch: CaptionBatch, rewards: Float[Tensor, "B N"], is_caption: Bool[Tensor, "B N"]
    ) -> Float[Tensor, "B N"]:
        """Return the baseline of each reward.

        Args:
            batch: Images with their references.
            rewards: Rewards of the captions.
            is_caption: True where there is a caption; an image may have fewer than N.
        """
        if self.baseline == "greedy":
            with eval_mode(self.model):
                greedy_captions = generate(
                    [self.model], [batch.regions], greedy(self.sampler.max_length, self.sampler.rules)
                )
            return self.rewards(batch, greedy_captions.words).expand_as(rewards)
        total, count = (rewards * is_caption).sum(1, keepdim=True), is_caption.sum(1, keepdim=True)
        if self.baseline == "mean":
            return (total / count.clamp(min=1)).expand_as(rewards)
        single = count == 1  # there is nothing to compare with, so the advantage is 0
        return torch.where(single, rewards, (total - rewards) / (count - 1).clamp(min=1))

    def validation_loss(self, batch: CaptionBatch, generated: Hypotheses) -> Tensor:
        """Return minus the mean reward of the captions generated in validation."""
        return -self.rewards(batch, generated.words[:, :1]).mean()

    def _log_statistics(self, words: Tensor, rewards: Tensor, baseline: Tensor, is_caption: Tensor) -> None:
        lengths, ended = count_words(words)
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
        count = is_caption.sum().clamp(min=1)
        for name, value in values.items():
            self.log(f"train/{name}", (value * is_caption).double().sum() / count, batch_size=len(words))


def _entropy(log_probs: Float[Tensor, "... V"]) -> Float[Tensor, "..."]:
    entropy: Tensor = torch.special.entr(log_probs.exp()).sum(-1)
    return entropy


def count_words(words: Int[Tensor, "B N T"]) -> tuple[Int[Tensor, "B N"], Bool[Tensor, "B N"]]:
    """Return the number of words of captions before their end token, and whether they have one."""
    before_end = (words != EOS).cumprod(2) * (words != PADDING)
    return before_end.sum(2), (words == EOS).any(2)


def _check_differs(sampler: Decoder, baseline: str) -> None:
    """Raise ``ValueError`` if no caption could be better or worse than the baseline."""
    if isinstance(sampler, Sampling):
        if sampler.top_k == 1:
            raise ValueError("sampler.top_k must be at least 2: with 1 all captions of an image are equal")
    elif baseline == "greedy" and sampler.num_sequences == 1:
        raise ValueError(
            "the baseline 'greedy' is the caption that one beam finds, which teaches nothing; "
            "a sampler that draws, or sampler.num_samples (or beam_size) of at least 2, is needed"
        )


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put a model into eval mode for the duration of a context."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
