"""The Up-Down captioner and its beam search as they are usually implemented, for comparison."""

import torch
from torch import Tensor, nn

from bua.models.captioners.base import LstmWeights
from bua.models.captioners.updown import UpDownCaptioner
from bua.structures.region_batch import RegionBatch
from bua.text.vocabulary import BOS, EOS, PADDING, UNKNOWN


def eos_bonus(step: int) -> float:
    """Return what is added to the logit of the end token, so that captions have about ten words."""
    return 1.2 * step - 12


class PlainUpDown(nn.Module):
    """The captioner with one call of ``LSTMCell`` and of the output layer per word."""

    def __init__(self, model: UpDownCaptioner) -> None:
        super().__init__()
        self.m = model
        self.attention_lstm = lstm_cell(model.attention_lstm, "language", "mean", "word")
        self.language_lstm = lstm_cell(model.language_lstm, "region", "attention")

    def forward(self, regions: RegionBatch, words: Tensor) -> Tensor:
        """Return logits (B x N, T, V)."""
        m, n = self.m, words.shape[1]
        features, mask, _ = regions
        v = m.dropout(m.region(features).relu()).repeat_interleave(n, 0)
        keys = m.key(v)
        mean = (features * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
        mean = m.dropout(m.mean(mean).relu()).repeat_interleave(n, 0)
        mask, words = mask.repeat_interleave(n, 0), words.flatten(0, 1)
        h1 = c1 = h2 = c2 = v.new_zeros(len(v), m.hidden_size)
        logits = []
        for t in range(words.shape[1]):
            x = m.dropout(m.word(words[:, t]).relu())
            h1, c1 = self.attention_lstm(torch.cat([h2, mean, x], 1), (h1, c1))
            scores = m.attention.score(torch.tanh(keys + m.attention.query(h1).unsqueeze(1))).squeeze(-1)
            weights = scores.masked_fill(~mask, -1e9).softmax(1)
            attended = torch.bmm(weights.unsqueeze(1), v).squeeze(1)
            h2, c2 = self.language_lstm(torch.cat([attended, h1], 1), (h2, c2))
            logits.append(m.logits(m.dropout(h2)))
        return torch.stack(logits, 1)


@torch.no_grad()
def lstm_cell(weights: LstmWeights, *inputs: str) -> nn.LSTMCell:
    """Return an ``LSTMCell`` of the same weights, whose input is the concatenation of the named inputs."""
    weight_ih = torch.cat([weights.weight_ih[name] for name in inputs], 1)
    cell = nn.LSTMCell(weight_ih.shape[1], weights.weight_hh.shape[1])
    cell.weight_ih.copy_(weight_ih)
    cell.weight_hh.copy_(weights.weight_hh)
    cell.bias_ih.copy_(weights.bias_ih)
    cell.bias_hh.copy_(weights.bias_hh)
    return cell


@torch.no_grad()
def plain_beam_search(
    plain: PlainUpDown, regions: RegionBatch, beam_size: int, max_length: int
) -> list[list[int]]:
    """Search one image after the other, with its regions repeated for every beam."""
    m, captions = plain.m, []
    for b in range(len(regions.features)):
        v = m.region(regions.features[b : b + 1]).relu().expand(beam_size, -1, -1)
        mean = m.mean(regions.features[b : b + 1].mean(1)).relu().expand(beam_size, -1)
        keys = m.key(v)
        h1 = c1 = h2 = c2 = v.new_zeros(beam_size, m.hidden_size)
        last, total = torch.full((beam_size,), BOS), torch.zeros(beam_size, 1)
        sequences: Tensor = torch.zeros(beam_size, 0, dtype=torch.long)
        finished: list[tuple[float, list[int]]] = []
        for t in range(max_length):
            x = m.word(last).relu()
            h1, c1 = plain.attention_lstm(torch.cat([h2, mean[: len(last)], x], 1), (h1, c1))
            scores = m.attention.score(torch.tanh(keys[: len(last)] + m.attention.query(h1).unsqueeze(1)))
            weights = scores.squeeze(-1).softmax(1)
            attended = torch.bmm(weights.unsqueeze(1), v[: len(last)]).squeeze(1)
            h2, c2 = plain.language_lstm(torch.cat([attended, h1], 1), (h2, c2))
            logits = m.logits(h2)
            logits[:, EOS] += eos_bonus(t + 1)
            log_probs = total + logits.log_softmax(1)
            log_probs[:, [PADDING, BOS, UNKNOWN]] = -torch.inf
            best, index = (log_probs[:1] if t == 0 else log_probs).flatten().topk(beam_size)
            parent, words = index // logits.shape[1], index % logits.shape[1]
            sequences = torch.cat([sequences[parent], words.unsqueeze(1)], 1)
            ended = words == EOS
            finished += [(float(best[n]), sequences[n].tolist()) for n in ended.nonzero().flatten().tolist()]
            live = (~ended).nonzero().flatten()
            if len(finished) >= beam_size or not len(live):
                break
            parent, last = parent[live], words[live]
            sequences, total = sequences[live], best[live].unsqueeze(1)
            h1, c1, h2, c2 = h1[parent], c1[parent], h2[parent], c2[parent]
        captions.append(max(finished, default=(0.0, sequences[0].tolist()))[1])
    return captions


@torch.no_grad()
def plain_batched_beam_search(
    plain: PlainUpDown, regions: RegionBatch, beam_size: int, max_length: int
) -> list[list[int]]:
    """Search all images at once, with their regions repeated for every beam, until all are finished."""
    m, images = plain.m, len(regions.features)
    v = m.region(regions.features).relu().repeat_interleave(beam_size, 0)
    mean = m.mean(regions.features.mean(1)).relu().repeat_interleave(beam_size, 0)
    keys = m.key(v)
    h1 = c1 = h2 = c2 = v.new_zeros(images * beam_size, m.hidden_size)
    last, total = torch.full((images * beam_size,), BOS), torch.full((images, beam_size), -torch.inf)
    total[:, 0] = 0
    sequences = torch.zeros(images * beam_size, 0, dtype=torch.long)
    finished: list[list[tuple[float, list[int]]]] = [[] for _ in range(images)]
    for t in range(max_length):
        h1, c1 = plain.attention_lstm(torch.cat([h2, mean, m.word(last).relu()], 1), (h1, c1))
        scores = m.attention.score(torch.tanh(keys + m.attention.query(h1).unsqueeze(1)))
        attended = torch.bmm(scores.squeeze(-1).softmax(1).unsqueeze(1), v).squeeze(1)
        h2, c2 = plain.language_lstm(torch.cat([attended, h1], 1), (h2, c2))
        logits = m.logits(h2)
        logits[:, EOS] += eos_bonus(t + 1)
        log_probs = total.view(-1, 1) + logits.log_softmax(1)
        log_probs[:, [PADDING, BOS, UNKNOWN]] = -torch.inf
        total, index = log_probs.view(images, -1).topk(beam_size)
        rows = (index // logits.shape[1] + beam_size * torch.arange(images).unsqueeze(1)).flatten()
        last = (index % logits.shape[1]).flatten()
        sequences = torch.cat([sequences[rows], last.unsqueeze(1)], 1)
        ended = last.view(images, beam_size) == EOS
        for b, n in ended.nonzero().tolist():
            finished[b].append((float(total[b, n]), sequences[b * beam_size + n].tolist()))
        if all(len(one) >= beam_size for one in finished):
            break
        total = total.masked_fill(ended, -torch.inf)
        h1, c1, h2, c2 = h1[rows], c1[rows], h2[rows], c2[rows]
    return [max(one, default=(0.0, sequences[b * beam_size].tolist()))[1] for b, one in enumerate(finished)]
