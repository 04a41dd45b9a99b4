"""Parity of VQA models with those of their authors, with their weights."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bua.models.attention import ConcatAttention, ProductAttention
from bua.models.vqa.ban import BilinearVQAModel
from bua.models.vqa.counting import Counter
from bua.models.vqa.mcan import CoAttentionVQAModel
from bua.models.vqa.updown import UpDownVQAModel
from bua.structures.region_batch import RegionBatch
from tests.helpers.parity import load, tensor

#: Patterns of parameter names of the references, and our names.
UPDOWN = {
    r"w_emb\.emb": "encoder.word",
    r"q_emb\.rnn": "encoder.recurrent",
    r"v_att\.v_proj\.main\.0": "glimpse.attention.region",
    r"v_att\.q_proj\.main\.0": "glimpse.attention.question.0",
    r"v_att\.nonlinear\.main\.0": "glimpse.attention.joint.0",
    r"v_att\.linear": "glimpse.attention.score",
    r"q_net\.main\.0": "glimpse.question.0",
    r"v_net\.main\.0": "glimpse.region.0",
    r"classifier\.main\.(\d)": r"classifier.\1",
}
BAN = {
    r"w_emb\.emb": "encoder.word",
    r"q_emb\.rnn": "encoder.recurrent",
    r"v_att\.logits\.v_net\.main": "attention.region",
    r"v_att\.logits\.q_net\.main": "attention.word",
    r"v_att\.logits\.h_mat_([gv])": r"attention.score.weight_\1",
    r"v_att\.logits\.h_bias": "attention.score.bias",
    r"b_net\.(\d)\.v_net\.main": r"pool.\1.region",
    r"b_net\.(\d)\.q_net\.main": r"pool.\1.word",
    r"q_prj\.(\d)\.main": r"seen.\1",
    r"c_prj\.(\d)\.main": r"counts.\1",
    r"classifier\.main": "classifier",
    r"counter\.f": "counter.f",
}
MCAN = {
    r"embedding": "encoder.word",
    r"lstm": "encoder.recurrent",
    r"adapter\.frcn_linear": "region",
    r"backbone\.enc_list\.(\d)": r"words.\1",
    r"backbone\.dec_list\.(\d)": r"regions.\1",
    r"(\w+\.\d)\.mhatt1?\.linear_(\w)\w*\.": r"\1.own.\2.",
    r"(\w+\.\d)\.mhatt2\.linear_(\w)\w*\.": r"\1.others.\2.",
    r"(\w+\.\d)\.(own|others)\.q\.": r"\1.\2.query.",
    r"(\w+\.\d)\.(own|others)\.k\.": r"\1.\2.key.",
    r"(\w+\.\d)\.(own|others)\.v\.": r"\1.\2.value.",
    r"(\w+\.\d)\.(own|others)\.m\.": r"\1.\2.out.",
    r"(\w+\.\d)\.ffn\.mlp\.fc\.linear": r"\1.feed_forward.0",
    r"(\w+\.\d)\.ffn\.mlp\.linear": r"\1.feed_forward.3",
    r"(\w+\.\d)\.norm1": r"\1.norms.0",
    r"(\w+\.\d)\.norm2": r"\1.norms.1",
    r"(\w+\.\d)\.norm3": r"\1.norms.2",
    r"attflat_img": "flatten_regions",
    r"attflat_lang": "flatten_words",
    r"(flatten_\w+)\.mlp\.fc\.linear": r"\1.score.0",
    r"(flatten_\w+)\.mlp\.linear": r"\1.score.3",
    r"(flatten_\w+)\.linear_merge": r"\1.out",
    r"proj_norm": "norm",
    r"proj\.": "logits.",
    r"(.*)\.a_2": r"\1.weight",
    r"(.*)\.b_2": r"\1.bias",
}


def load_weights(model: nn.Module, file: Any, names: dict[str, str], unused: str = r"$.") -> None:
    """Load the weights of a reference; all but the unused ones must be parameters of the model."""
    own, weights = model.state_dict(), {}
    for key in file.files:
        name = key.removeprefix("weight/")
        if name == key or re.match(unused, name):
            continue
        for theirs, ours in names.items():
            name = re.sub(f"^{theirs}", ours, name)
        name = re.sub(r"weight_g$", "parametrizations.weight.original0", name)
        name = re.sub(r"weight_v$", "parametrizations.weight.original1", name)
        weights[name] = tensor(file[key]).reshape(own[name].shape)
    model.load_state_dict(weights, strict=True)


def words_of(model: nn.Module, question: Tensor, padding: int) -> Tensor:
    """Return a question in our word indices, and reorder the word vectors: padding first, with zeros."""
    with torch.no_grad():
        words = model.encoder.word.weight
        words.copy_(words.roll(-padding, 0))
        words[0] = 0
    return (question - padding) % len(words)


def regions_of(file: Any) -> RegionBatch:
    features = tensor(file["input/regions"])
    mask = torch.ones(features.shape[:2], dtype=torch.bool)
    boxes = torch.zeros(*mask.shape, 4)
    if "input/region_count" in file.files:
        mask = torch.arange(features.shape[1]) < tensor(file["input/region_count"])[:, None]
        boxes = tensor(file["input/boxes"])
    return RegionBatch(features, mask, boxes)


def close(ours: Tensor, theirs: Any) -> None:
    torch.testing.assert_close(ours, tensor(theirs).reshape(ours.shape), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["product", "concat"])
@torch.no_grad()
def test_parity_of_vqa_model(kind: str) -> None:
    file = load(f"vqa_updown_{kind}.npz")
    regions = regions_of(file)
    sizes = {"feature_size": 40, "question_size": 32, "hidden_size": 32}
    model = UpDownVQAModel(
        feature_size=40,
        vocabulary_size=54,
        answers=29,
        word_size=300,
        hidden_size=32,
        dropout=0.5,
        attention=ProductAttention(**sizes, dropout=0.2) if kind == "product" else ConcatAttention(**sizes),
    ).eval()
    load_weights(model, file, UPDOWN)
    words = words_of(model, tensor(file["input/question"]), padding=53)
    logits, attention = model(regions, words)
    close(model.encoder(words), file["output/question_embedding"])
    close(attention, file["output/attention"])
    close(logits, file["output/logits"])
    loss = F.binary_cross_entropy_with_logits(logits, tensor(file["input/soft_targets"])) * 29
    assert float(loss) == pytest.approx(float(file["output/loss"]), rel=1e-5)


@torch.no_grad()
def test_parity_of_bilinear_attention_network() -> None:
    file = load("vqa_ban.npz")
    regions = regions_of(file)
    model = BilinearVQAModel(
        feature_size=40,
        vocabulary_size=54,
        answers=29,
        word_size=300,
        frozen_copy=False,
        hidden_size=32,
        glimpses=3,
        joint_factor=3,
        dropout=0.2,
        joint_dropout=0.5,
        classifier_dropout=0.5,
        counter=Counter(objects=10),
    ).eval()
    load_weights(model, file, BAN, unused=r"counter\.f\.([89]|1\d)")
    words = words_of(model, tensor(file["input/question"]), padding=53)
    logits, weights = model(regions, words)
    close(model.attention_maps(regions, words), file["output/attention"])
    close(weights, file["output/attention"].sum(3).mean(1))
    close(logits, file["output/logits"])


@torch.no_grad()
def test_parity_of_co_attention_network() -> None:
    file = load("vqa_mcan.npz")
    model = CoAttentionVQAModel(
        feature_size=40,
        vocabulary_size=53,
        answers=29,
        word_size=24,
        model_size=32,
        feed_forward_size=64,
        layers=2,
        heads=4,
        dropout=0.1,
        score_size=32,
        flat_size=48,
    ).eval()
    load_weights(model, file, MCAN)
    words = words_of(model, tensor(file["input/question"]), padding=0)
    logits, _ = model(regions_of(file), words)
    close(logits, file["output/logits"])
