"""A Transformer captioner.

Shapes: B images, N sequences per image, T new words, P earlier words, K regions (padded), D model,
L layers, H heads, E = D / H, V vocabulary.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from bua.models.captioners.base import Captioner, Step
from bua.models.captioners.positional_encoding import BoxGeometry, sinusoids
from bua.models.captioners.transformer_layers import DecoderLayer, EncoderLayer
from bua.models.multihead import KeyValues
from bua.structures.region_batch import RegionBatch


class TransformerRegions(NamedTuple):
    """Keys and values of the encoded regions of a batch, for every decoder layer."""

    keys: Float[Tensor, "B L H K E"]
    values: Float[Tensor, "B L H K E"]
    mask: Bool[Tensor, "B K"]

    def layer(self, n: int) -> KeyValues:
        """Return the keys and values of decoder layer ``n``."""
        return KeyValues(self.keys[:, n], self.values[:, n])


class TransformerState(NamedTuple):
    """Keys and values (B, N, H, P, E) of the words read so far, for every decoder layer."""

    layers: tuple[KeyValues, ...]

    @property
    def num_words(self) -> int:
        """Number of words read so far, P."""
        return self.layers[0].keys.shape[3]


class TransformerCaptioner(Captioner[TransformerRegions, TransformerState]):
    """A Transformer encoder over regions and decoder over words (Vaswani et al. 2017, section 3.1).

    As self-critical.pytorch builds it: layers are pre-norm, with a final norm after the encoder and after the
    decoder; regions are projected, with ReLU and dropout; word vectors are multiplied by sqrt(D) and
    sinusoids of their positions are added; matrices are initialized by Glorot's rule. Regions have no
    positions, so their order does not matter. With a ``BoxGeometry`` the encoder is that of the Object
    Relation Transformer (Herdade et al. 2019).

    Args:
        feature_size: Size of a region feature.
        vocabulary_size: V.
        model_size: D; must be even and a multiple of ``heads``.
        feed_forward_size: Size of the hidden layer of the feed-forward networks.
        layers: L, the number of encoder layers and of decoder layers.
        heads: H.
        dropout: Dropout of attention weights, of the output of every block and of word vectors.
        region_dropout: Dropout of projected regions.
        geometry: Geometric attention of the encoder; None for none.

    Raises:
        ValueError: If ``model_size`` is odd or not a multiple of ``heads``, or the geometry is for another
            number of layers or heads.
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
            raise ValueError(f"model_size must be even, got {model_size}")
        if geometry and geometry.shape != (layers, heads):
            other = "{} layers of {} heads".format(*geometry.shape)
            raise ValueError(f"geometry must be for {layers} layers of {heads} heads, got {other}")
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
        """Run the encoder, and compute the keys and values of its output for every decoder layer."""
        x = self.region_dropout(self.region(regions.features).relu())
        mask = regions.mask[:, None, None]
        geometry = self.geometry(regions.boxes) if self.geometry else None
        for n, layer in enumerate(self.encoder):
            x = layer(x, mask if geometry is None else geometry[:, n].masked_fill(~mask, -torch.inf))
        x = self.encoder_norm(x)
        key_values = [layer.regions.key_values(x) for layer in self.decoder]
        keys, values = (torch.stack(part, 1) for part in zip(*key_values, strict=True))
        return TransformerRegions(keys, values, regions.mask)

    def init_state(self, memory: TransformerRegions, num_sequences: int) -> TransformerState:
        """Return the keys and values of no words."""
        batch, layers, heads, _, size = memory.keys.shape
        empty = memory.keys.new_zeros(batch, num_sequences, heads, 0, size)
        return TransformerState(tuple(KeyValues(empty, empty) for _ in range(layers)))

    def make_step(self, memory: TransformerRegions) -> Step[TransformerState]:
        """Return the step function; its attention is that of the last layer, averaged over the heads."""
        last = len(self.decoder) - 1
        regions = memory.layer(last)

        def step(words: Tensor, state: TransformerState) -> tuple[Tensor, Tensor, TransformerState]:
            out, query, state = self._decode(words.unsqueeze(2), memory, state)
            attention = self.decoder[last].cross_attention_weights(query, regions, memory.mask)
            return self.logits(out.squeeze(2)), attention.squeeze(2), state

        compiled: Step[TransformerState] = self._compiled(step)
        return compiled

    def forward(
        self,
        regions: RegionBatch,
        words: Int[Tensor, "B N T"],
        selected: Bool[Tensor, "B N T"] | None = None,
    ) -> Float[Tensor, "*S V"]:
        """Return the logits of the word after each of the given words."""
        memory = self._compiled(self.encode)(regions)
        state = self.init_state(memory, words.shape[1])
        out, _, _ = self._compiled(self._decode)(words, memory, state)
        logits: Tensor = self.logits(out if selected is None else out[selected])
        return logits

    def _decode(
        self, words: Int[Tensor, "B N T"], memory: TransformerRegions, state: TransformerState
    ) -> tuple[Float[Tensor, "B N T D"], Float[Tensor, "B N T D"], TransformerState]:
        """Return the decoder's output, its last layer's input to cross-attention, and the next state."""
        positions = (torch.arange(words.shape[2], device=words.device) + state.num_words).float()
        encoding = sinusoids(positions, self.model_size // 2, 10000.0)
        x = self.dropout(self.word(words) * self.model_size**0.5 + encoding)
        query, layers = x, []
        for n, layer in enumerate(self.decoder):
            query, key_values = layer.self_attend(x, state.layers[n])
            x = layer.cross_attend(query, memory.layer(n), memory.mask)
            layers.append(key_values)
        return self.decoder_norm(x), query, TransformerState(tuple(layers))
