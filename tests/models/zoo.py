"""Every model at the size of a test, and batches for them."""

import torch

from bua.models.answerer import QuestionOnlyAnswerer, UpDownAnswerer
from bua.models.attention import ConcatAttention, MeanPooling, ProductAttention
from bua.models.captioners.att2in import Att2inCaptioner
from bua.models.captioners.pooled import MeanPooledCaptioner
from bua.models.captioners.position import BoxGeometry
from bua.models.captioners.soft_attention import SoftAttentionCaptioner
from bua.models.captioners.transformer import TransformerCaptioner
from bua.models.captioners.updown import UpDownCaptioner
from bua.models.captioners.updown_caffe import CaffeUpDownCaptioner
from bua.models.regions import RegionBatch

D, V, E, H, A = 7, 11, 6, 8, 5
B, K, N, T = 3, 5, 2, 4
COUNTS = [5, 2, 4]


def transformer(**more) -> TransformerCaptioner:
    sizes = {"model_size": 8, "feed_forward_size": 10, "layers": 2, "heads": 2}
    options = sizes | {"dropout": 0.1, "region_dropout": 0.3, "geometry": None} | more
    return TransformerCaptioner(feature_size=D, vocabulary_size=V, **options)


SIZES = {"feature_size": D, "vocabulary_size": V, "word_size": E, "hidden_size": H}
CAPTIONERS = {
    "updown": lambda: UpDownCaptioner(**SIZES, attention_size=A, dropout=0.3),
    "updown_caffe": lambda: CaffeUpDownCaptioner(**SIZES, attention_size=A),
    "att2in": lambda: Att2inCaptioner(**SIZES, attention_size=A, dropout=0.3),
    "soft_attention": lambda: SoftAttentionCaptioner(**SIZES, attention_size=A, dropout=0.3),
    "mean_pooled": lambda: MeanPooledCaptioner(**SIZES, dropout=0.3),
    "transformer": transformer,
    "transformer_geometry": lambda: transformer(geometry=BoxGeometry(layers=2, heads=2)),
}

ATTENTIONS = {
    "product": lambda: ProductAttention(feature_size=D, question_size=H, hidden_size=H, dropout=0.2),
    "concat": lambda: ConcatAttention(feature_size=D, question_size=H, hidden_size=H),
    "mean": MeanPooling,
}
ANSWERERS = [*ATTENTIONS, "blind"]


def captioner(kind: str, seed: int = 0):
    """Return a captioner whose numbers are large enough for a mistake to show."""
    torch.manual_seed(seed)
    model = CAPTIONERS[kind]()
    if kind == "updown_caffe":  # its weights begin so small that all words are alike
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def answerer(kind: str):
    torch.manual_seed(0)
    sizes = {"vocabulary_size": V, "answers": 6, "word_size": E, "hidden_size": H, "dropout": 0.3}
    if kind == "blind":
        return QuestionOnlyAnswerer(**sizes).eval()
    return UpDownAnswerer(feature_size=D, attention=ATTENTIONS[kind](), **sizes).eval()


def some_regions(counts=COUNTS, seed: int = 1) -> RegionBatch:
    """Return regions at random with zeros behind those of each image."""
    generator = torch.Generator().manual_seed(seed)
    most = max(counts)
    mask = torch.arange(most) < torch.tensor(counts)[:, None]
    features = torch.randn(len(counts), most, D, generator=generator)
    corners = torch.rand(len(counts), most, 2, 2, generator=generator).sort(2).values.flatten(2)
    real = mask.unsqueeze(-1)
    return RegionBatch(features * real, mask, corners * real)


def some_words(images: int = B, sequences: int = N, length: int = T, seed: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, V, (images, sequences, length), generator=generator)


def chosen(regions: RegionBatch, *index) -> RegionBatch:
    """Return some images, or some regions of all: what ``index`` picks of every tensor."""
    return RegionBatch(*(tensor[index] for tensor in regions))


def steps(model, regions: RegionBatch, words: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits (B, N, T, V) and weights (B, N, T, K) of one step after the other."""
    memory = model.encode(regions)
    state, logits, weights = model.start(memory, words.shape[1]), [], []
    for t in range(words.shape[2]):
        said, looked, state = model.step(words[:, :, t], memory, state)
        logits.append(said)
        weights.append(looked)
    return torch.stack(logits, 2), torch.stack(weights, 2)
