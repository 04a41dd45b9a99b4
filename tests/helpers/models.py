"""Every model at the size of a test, and batches for them."""

import torch

from bua.models.attention import ConcatAttention, MeanPooling, ProductAttention
from bua.models.captioners.att2in import Att2inCaptioner
from bua.models.captioners.mean_pooled import MeanPooledCaptioner
from bua.models.captioners.positional_encoding import BoxGeometry
from bua.models.captioners.soft_attention import SoftAttentionCaptioner
from bua.models.captioners.transformer import TransformerCaptioner
from bua.models.captioners.updown import UpDownCaptioner
from bua.models.captioners.updown_caffe import CaffeUpDownCaptioner
from bua.models.layers import WeightNormLayers
from bua.models.vqa.ban import BilinearVQAModel
from bua.models.vqa.counting import Counter
from bua.models.vqa.mcan import CoAttentionVQAModel
from bua.models.vqa.question_only import QuestionOnlyVQAModel
from bua.models.vqa.two_stream import TwoStreamVQAModel
from bua.models.vqa.updown import UpDownVQAModel
from bua.structures.region_batch import RegionBatch

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
    "updown_caffe_fixed": lambda: CaffeUpDownCaptioner(**SIZES, attention_size=A, fixed_words=True),
    "att2in": lambda: Att2inCaptioner(**SIZES, attention_size=A, dropout=0.3),
    "soft_attention": lambda: SoftAttentionCaptioner(**SIZES, attention_size=A, dropout=0.3),
    "mean_pooled": lambda: MeanPooledCaptioner(**SIZES, dropout=0.3),
    "transformer": transformer,
    "transformer_geometry": lambda: transformer(geometry=BoxGeometry(layers=2, heads=2)),
}

# so wide that no two regions have the same score, of which a counter would take any
ATTENTION_SIZES = {"feature_size": D, "question_size": H, "hidden_size": 4 * H}
ATTENTIONS = {
    "product": lambda: ProductAttention(**ATTENTION_SIZES, dropout=0.2),
    "concat": lambda: ConcatAttention(**ATTENTION_SIZES),
    "mean": MeanPooling,
}
C = 6
ANSWERER_SIZES = {"feature_size": D, "vocabulary_size": V, "answers": C, "word_size": E}


def updown(attention: str, **more) -> UpDownVQAModel:
    options = {"hidden_size": H, "dropout": 0.3, "attention": ATTENTIONS[attention](), **more}
    return UpDownVQAModel(**ANSWERER_SIZES, **options)


def openvqa(**more) -> UpDownVQAModel:
    layers = WeightNormLayers("elu")
    attention = ConcatAttention(**ATTENTION_SIZES, layers=layers, dropout=0.2, projected=True)
    options = {"hidden_size": H, "dropout": 0.3, "cell": "lstm", **more}
    return UpDownVQAModel(**ANSWERER_SIZES, attention=attention, layers=layers, **options)


def teney(**more) -> TwoStreamVQAModel:
    return TwoStreamVQAModel(**ANSWERER_SIZES, image_size=9, hidden_size=H, **more)


def ban(**more) -> BilinearVQAModel:
    dropouts = {"dropout": 0.2, "joint_dropout": 0.5, "classifier_dropout": 0.5}
    options = {"hidden_size": H, "glimpses": 2, "joint_factor": 3, "frozen_copy": False, **dropouts, **more}
    return BilinearVQAModel(**ANSWERER_SIZES, **options)


def mcan(**more) -> CoAttentionVQAModel:
    sizes = {"model_size": H, "feed_forward_size": 10, "layers": 2, "heads": 2}
    options = {"dropout": 0.1, "score_size": 5, "flat_size": 9, **more}
    return CoAttentionVQAModel(**ANSWERER_SIZES, **sizes, **options)


def blind() -> QuestionOnlyVQAModel:
    sizes = {name: size for name, size in ANSWERER_SIZES.items() if name != "feature_size"}
    return QuestionOnlyVQAModel(**sizes, hidden_size=H, dropout=0.3)


LOOKING = {
    "product": lambda **more: updown("product", **more),
    "concat": lambda **more: updown("concat", **more),
    "openvqa": openvqa,
    "teney": teney,
    "ban": ban,
    "mcan": mcan,
}
ANSWERERS = {
    **LOOKING,
    "mean": lambda: updown("mean"),
    "blind": blind,
    **{
        f"{name} counting": lambda make=make: make(counter=Counter(objects=3))
        for name, make in LOOKING.items()
    },
}


def captioner(kind: str, seed: int = 0):
    """Return a captioner whose numbers are large enough for a mistake to show."""
    torch.manual_seed(seed)
    model = CAPTIONERS[kind]()
    if kind.startswith("updown_caffe"):  # its weights begin so small that all words are alike
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
            if model.fixed_words:  # vectors of GloVe are long: their products with v are to tell words apart
                model.word.weight.mul_(10)
    return model.eval()


def answerer(kind: str):
    torch.manual_seed(0)
    return ANSWERERS[kind]().eval()


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
