"""A Transformer from regions to words.

Shapes: B images, N sequences an image, T words now, P words before, K regions (padded), D model, L
layers, H heads, E = D / H, V vocabulary.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from bua.models.captioners.base import Captioner, Step
from bua.models.captioners.positional_encoding import BoxGeometry, sinusoids
from bua.models.captioners.transformer_layers import DecoderLayer, EncoderLayer
from bua.models.multihead import KeysAndValues
from bua.structures.region_batch import RegionBatch


class TransformerRegions(NamedTuple):
    """What every layer of the decoder attends to of the regions of a batch."""

    keys: Float[Tensor, "B L H K E"]
    values: Float[Tensor, "B L H K E"]
    mask: Bool[Tensor, "B K"]

    def layer(self, n: int) -> KeysAndValues:
        """Return what layer ``n`` attends to."""
        return KeysAndValues(self.keys[:, n], self.values[:, n])


class TransformerState(NamedTuple):
    """Keys and values (B, N, H, P, E) of the words so far, for each layer of the decoder."""

    layers: tuple[KeysAndValues, ...]

    @property
    def words(self) -> int:
        """How many words were read."""
        return self.layers[0].keys.shape[3]


class TransformerCaptioner(Captioner[TransformerRegions, TransformerState]):
    """An encoder over regions and a decoder over words (Vaswani et al. 2017, section 3.1).

    As self-critical.pytorch builds it: pre-norm layers, each half with a last norm; regions
    projected, with ReLU and dropout; word vectors times sqrt(D) plus sinusoids of their positions;
    matrices begin as Glorot's. Regions have no positions, so their order means nothing; with a
    ``BoxGeometry`` the encoder is that of the Object Relation Transformer (Herdade et al. 2019).

    Args:
        feature_size: of a region.
        vocabulary_size: V.
        model_size: D, a multiple of ``heads``, and even.
        feed_forward_size: of the hidden layer between attentions.
        layers: L, of the encoder and of the decoder.
        heads: H.
        dropout: of attention weights, of what each half layer adds, and of word vectors.
        region_dropout: of projected regions.
        geometry: what boxes add to the scores of the encoder, or nothing.

    Raises:
        ValueError: ``model_size`` is odd or not a multiple of ``heads``, or the geometry has other
            layers or heads.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        vocabulary_size: int,
        model_size: int,
        feed_forward_size: int,
        layers: int,
        heads: int,
        dropout: float,
        region_dropout: float,
        geometry: BoxGeometry | None,
    ) -> None:
        super().__init__()
        if model_size % 2:
            raise ValueError(f"model_size is {model_size}; an even number is needed")
        if geometry and geometry.shape != (layers, heads):
            other = "{} layers of {} heads".format(*geometry.shape)
            raise ValueError(f"the geometry is for {other}, not for {layers} of {heads}")
        sizes = {"size": model_size, "hidden_size": feed_forward_size, "heads": heads}
        self.model_size, self.heads = model_size, heads
        self.encoder: Any = nn.ModuleList([EncoderLayer(**sizes, dropout=dropout) for _ in range(layers)])
        self.decoder: Any = nn.ModuleList([DecoderLayer(**sizes, dropout=dropout) for _ in range(layers)])
        self.encoder_norm, self.decoder_norm = nn.LayerNorm(model_size), nn.LayerNorm(model_size)
        self.word = nn.Embedding(vocabulary_size, model_size)
        self.logits = nn.Linear(model_size, vocabulary_size)
        self.geometry = geometry
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        self.region = nn.Linear(feature_size, model_size)
        self.dropout, self.region_dropout = nn.Dropout(dropout), nn.Dropout(region_dropout)

    def encode(self, regions: RegionBatch) -> TransformerRegions:
        """Let regions attend to regions, and compute what each layer of the decoder attends to."""
        x = self.region_dropout(self.region(regions.features).relu())
        mask = regions.mask[:, None, None]
        heeds = self.geometry(regions.boxes) if self.geometry else None
        for n, layer in enumerate(self.encoder):
            x = layer(x, mask if heeds is None else heeds[:, n].masked_fill(~mask, -torch.inf))
        x = self.encoder_norm(x)
        attended = [layer.regions.attended(x) for layer in self.decoder]
        keys, values = (torch.stack(part, 1) for part in zip(*attended, strict=True))
        return TransformerRegions(keys, values, regions.mask)

    def start(self, memory: TransformerRegions, sequences: int) -> TransformerState:
        """Return the state of having read nothing."""
        batch, layers, heads, _, size = memory.keys.shape
        nothing = memory.keys.new_zeros(batch, sequences, heads, 0, size)
        return TransformerState(tuple(KeysAndValues(nothing, nothing) for _ in range(layers)))

    def stepping(self, memory: TransformerRegions) -> Step[TransformerState]:
        """Return the step over these regions; weights are those of the last layer, mean of its heads."""
        last = len(self.decoder) - 1
        there = memory.layer(last)

        def step(words: Tensor, state: TransformerState) -> tuple[Tensor, Tensor, TransformerState]:
            out, looking, state = self._read(words.unsqueeze(2), memory, state)
            weights = self.decoder[last].weights(looking, there, memory.mask)
            return self.logits(out.squeeze(2)), weights.squeeze(2), state

        compiled: Step[TransformerState] = self._compiled(step)
        return compiled

    def forward(
        self,
        regions: RegionBatch,
        words: Int[Tensor, "B N T"],
        where: Bool[Tensor, "B N T"] | None = None,
    ) -> Float[Tensor, "*S V"]:
        """Return the logits of the word after each of ``words``, (B, N, T, V), or those ``where`` wanted."""
        memory = self._compiled(self.encode)(regions)
        out, _, _ = self._compiled(self._read)(words, memory, self.start(memory, words.shape[1]))
        logits: Tensor = self.logits(out if where is None else out[where])
        return logits

    def _read(
        self, words: Int[Tensor, "B N T"], memory: TransformerRegions, state: TransformerState
    ) -> tuple[Float[Tensor, "B N T D"], Float[Tensor, "B N T D"], TransformerState]:
        """Return what to say, what looked at the regions in the last layer, and the next state."""
        places = (torch.arange(words.shape[2], device=words.device) + state.words).float()
        position = sinusoids(places, self.model_size // 2, 10000.0)
        x = self.dropout(self.word(words) * self.model_size**0.5 + position)
        looking, layers = x, []
        for n, layer in enumerate(self.decoder):
            looking, past = layer.recall(x, state.layers[n])
            x = layer.look(looking, memory.layer(n), memory.mask)
            layers.append(past)
        return self.decoder_norm(x), looking, TransformerState(tuple(layers))
