"""The attribute head of the Visual Genome detector (Anderson et al. 2018, section 3.1).

Shapes: N regions, D region features, A attributes without "no attribute", which is index 0.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


class AttributeHead(nn.Module):
    """Predict one attribute of a region from its feature and the embedding of its class."""

    def __init__(
        self, *, feature_size: int, classes: int, attributes: int, embedding_size: int, hidden_size: int
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(classes, embedding_size)
        self.hidden = nn.Linear(feature_size + embedding_size, hidden_size)
        self.logits = nn.Linear(hidden_size, attributes + 1)

    def forward(self, features: Float[Tensor, "N D"], labels: Int[Tensor, " N"]) -> Float[Tensor, "N A1"]:
        """Return logits over "no attribute" and the A attributes; ``labels`` count background as 0."""
        seen = torch.cat([features, self.embedding(labels)], 1)
        logits: Tensor = self.logits(self.hidden(seen).relu())
        return logits


def attribute_loss(logits: Float[Tensor, "N A1"], targets: Bool[Tensor, "N A1"]) -> Float[Tensor, ""]:
    """Average -log p over the attributes of a region, then over the regions that have any.

    This is the released detector's own form of the softmax loss for several labels a region. There,
    and in targets of ``bua.data.detection.dataset``, an object that was annotated and found to have no
    attribute has the label 0, "no attribute", and trains it; a region without any label is passed over.

    Returns 0 when no region has a label.
    """
    nll = -logits.log_softmax(1)
    count = targets.sum(1)
    each = nll.masked_fill(~targets, 0).sum(1) / count.clamp(min=1)
    return each.sum() / (count > 0).sum().clamp(min=1)
