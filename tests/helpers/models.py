"""Small instances of every model, and random batches for them."""

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


def transformer(**overrides) -> TransformerCaptioner:
    sizes = {"model_size": 8, "feed_forward_size": 10, "layers": 2, "heads": 2}
    options = sizes | {"dropout": 0.1, "region_dropout": 0.3, "geometry": None} | overrides
    return TransformerCaptioner(feature_size=D, vocabulary_size=V, **options)


SIZES = {"feature_size": D, "vocabulary_size": V, "word_size": E, "hidden_size": H}
CAPTIONERS = {
    "updown": lambda: UpDownCaptioner(**SIZES, attention_size=A, dropout=0.3),
    "updown_caffe": lambda: CaffeUpDownCaptioner(**SIZES, attention_size=A),
    "updown_caffe_fixed": lambda: CaffeUpDownCaptioner(**SIZES, attention_size=A, fixed_words=True),
    "updown_nocaps": lambda: CaffeUpDownCaptioner(
        **SIZES, attention_size=A, weight_std=None, doubled_recurrence=True, zero_unknown=True
    ),
    "att2in": lambda: Att2inCaptioner(**SIZES, attention_size=A, dropout=0.3),
    "soft_attention": lambda: SoftAttentionCaptioner(**SIZES, attention_size=A, dropout=0.3),
    "mean_pooled": lambda: MeanPooledCaptioner(**SIZES, dropout=0.3),
    "transformer": transformer,
    "transformer_geometry": lambda: transformer(geometry=BoxGeometry(layers=2, heads=2)),
}

# wide enough that no two regions have equal scores, between which a counter would choose arbitrarily
ATTENTION_SIZES = {"feature_size": D, "question_size": H, "hidden_size": 4 * H}
ATTENTIONS = {
    "product": lambda: ProductAttention(**ATTENTION_SIZES, dropout=0.2),
    "concat": lambda: ConcatAttention(**ATTENTION_SIZES),
    "mean": MeanPooling,
}
C = 6
VQA_SIZES = {"feature_size": D, "vocabulary_size": V, "answers": C, "word_size": E}


def updown(attention: str, **overrides) -> UpDownVQAModel:
    options = {"hidden_size": H, "dropout": 0.3, "attention": ATTENTIONS[attention](), **overrides}
    return UpDownVQAModel(**VQA_SIZES, **options)


def openvqa(**overrides) -> UpDownVQAModel:
    layers = WeightNormLayers("elu")
    attention = ConcatAttention(**ATTENTION_SIZES, layers=layers, dropout=0.2, projected=True)
    options = {"hidden_size": H, "dropout": 0.3, "cell": "lstm", **overrides}
    return UpDownVQAModel(**VQA_SIZES, attention=attention, layers=layers, **options)


def teney(**overrides) -> TwoStreamVQAModel:
    return TwoStreamVQAModel(**VQA_SIZES, image_size=9, hidden_size=H, **overrides)


def ban(**overrides) -> BilinearVQAModel:
    dropouts = {"dropout": 0.2, "joint_dropout": 0.5, "classifier_dropout": 0.5}
    options = {
        "hidden_size": H,
        "glimpses": 2,
        "joint_factor": 3,
        "frozen_copy": False,
        **dropouts,
        **overrides,
    }
    return BilinearVQAModel(**VQA_SIZES, **options)


def mcan(**overrides) -> CoAttentionVQAModel:
    sizes = {"model_size": H, "feed_forward_size": 10, "layers": 2, "heads": 2}
    options = {"dropout": 0.1, "score_size": 5, "flat_size": 9, **overrides}
    return CoAttentionVQAModel(**VQA_SIZES, **sizes, **options)


def blind() -> QuestionOnlyVQAModel:
    sizes = {name: size for name, size in VQA_SIZES.items() if name != "feature_size"}
    return QuestionOnlyVQAModel(**sizes, hidden_size=H, dropout=0.3)


ATTENTION_VQA_MODELS = {
    "product": lambda **overrides: updown("product", **overrides),
    "concat": lambda **overrides: updown("concat", **overrides),
    "openvqa": openvqa,
    "teney": teney,
    "ban": ban,
    "mcan": mcan,
}
VQA_MODELS = {
    **ATTENTION_VQA_MODELS,
    "mean": lambda: updown("mean"),
    "blind": blind,
    **{
        f"{name} counting": lambda make=make: make(counter=Counter(objects=3))
        for name, make in ATTENTION_VQA_MODELS.items()
    },
}


def captioner(kind: str, seed: int = 0):
    """Return a captioner whose outputs are large enough to reveal mistakes."""
    torch.manual_seed(seed)
    model = CAPTIONERS[kind]()
    if kind.startswith("updown_caffe"):  # its initial weights are so small that all words are equally likely
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
            if model.fixed_words:  # GloVe vectors are long, so that their products with v separate the words
                model.word.weight.mul_(10)
    return model.eval()


def vqa_model(kind: str):
    torch.manual_seed(0)
    return VQA_MODELS[kind]().eval()


def random_regions(counts=COUNTS, seed: int = 1) -> RegionBatch:
    """Return random regions, padded with zeros, with a number of regions for each image."""
    generator = torch.Generator().manual_seed(seed)
    most = max(counts)
    mask = torch.arange(most) < torch.tensor(counts)[:, None]
    features = torch.randn(len(counts), most, D, generator=generator)
    corners = torch.rand(len(counts), most, 2, 2, generator=generator).sort(2).values.flatten(2)
    real = mask.unsqueeze(-1)
    return RegionBatch(features * real, mask, corners * real)


def random_words(images: int = B, sequences: int = N, length: int = T, seed: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, V, (images, sequences, length), generator=generator)


def select(regions: RegionBatch, *index) -> RegionBatch:
    """Index every tensor of a batch, to select images or regions."""
    return RegionBatch(*(tensor[index] for tensor in regions))


def run_steps(model, regions: RegionBatch, words: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits (B, N, T, V) and attention (B, N, T, K) of a captioner, one step at a time."""
    memory = model.encode(regions)
    state, logits, weights = model.init_state(memory, words.shape[1]), [], []
    for t in range(words.shape[2]):
        step_logits, step_weights, state = model.step(words[:, :, t], memory, state)
        logits.append(step_logits)
        weights.append(step_weights)
    return torch.stack(logits, 2), torch.stack(weights, 2)
