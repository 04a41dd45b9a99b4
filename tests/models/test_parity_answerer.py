"""The VQA model against hengyuan-hu's, on its own weights, with both attentions."""

import pytest
import torch
from torch.nn import functional as F

from bua.models.answerer import UpDownAnswerer
from bua.models.attention import ConcatAttention, ProductAttention
from bua.models.regions import RegionBatch
from tests.parity import load, tensor

PRODUCT = {
    "v_att.v_proj.main.0": "attention.region.0",
    "v_att.q_proj.main.0": "attention.question.0",
    "v_att.linear": "attention.score",
}
CONCAT = {"v_att.nonlinear.main.0": "attention.joint.0", "v_att.linear": "attention.score"}
REST = {
    "w_emb.emb": "encoder.word",
    "q_emb.rnn": "encoder.gru",
    "q_net.main.0": "question.0",
    "v_net.main.0": "region.0",
    "classifier.main.0": "classifier.0",
    "classifier.main.3": "classifier.3",
}


@pytest.mark.parametrize("kind", ["product", "concat"])
@torch.no_grad()
def test_parity_of_vqa_model(kind: str) -> None:
    file = load(f"vqa_updown_{kind}.npz")
    names = REST | (PRODUCT if kind == "product" else CONCAT)
    weights = {}
    for key in file.files:
        if key.startswith("weight/"):
            prefix = next(p for p in names if key.removeprefix("weight/").startswith(p + "."))
            name = names[prefix] + key.removeprefix(f"weight/{prefix}")
            name = name.replace("weight_g", "parametrizations.weight.original0")
            name = name.replace("weight_v", "parametrizations.weight.original1")
            weights[name] = tensor(file[key])
    # theirs pads with the last index, ours with the first
    words = weights["encoder.word.weight"]
    weights["encoder.word.weight"] = words.roll(1, 0)
    question = (tensor(file["input/question"]) + 1) % len(words)
    regions = tensor(file["input/regions"])
    hidden, answers = len(weights["question.0.bias"]), len(weights["classifier.3.bias"])
    sizes = {"feature_size": regions.shape[2], "question_size": hidden, "hidden_size": hidden}
    model = UpDownAnswerer(
        feature_size=regions.shape[2],
        vocabulary_size=len(words),
        answers=answers,
        word_size=words.shape[1],
        hidden_size=hidden,
        dropout=0.5,
        attention=ProductAttention(**sizes, dropout=0.2) if kind == "product" else ConcatAttention(**sizes),
    ).eval()
    own = model.state_dict()
    model.load_state_dict({k: v.reshape(own[k].shape) for k, v in weights.items()}, strict=True)
    mask = torch.ones(regions.shape[:2], dtype=torch.bool)
    logits, attention = model(RegionBatch(regions, mask, torch.zeros(*mask.shape, 4)), question)
    torch.testing.assert_close(
        model.encoder(question), tensor(file["output/question_embedding"]), atol=1e-5, rtol=1e-4
    )
    torch.testing.assert_close(
        attention, tensor(file["output/attention"]).reshape(attention.shape), atol=1e-6, rtol=1e-4
    )
    torch.testing.assert_close(logits, tensor(file["output/logits"]), atol=1e-5, rtol=1e-4)
    loss = F.binary_cross_entropy_with_logits(logits, tensor(file["input/soft_targets"])) * answers
    torch.testing.assert_close(loss, tensor(file["output/loss"]).reshape(()), atol=1e-4, rtol=1e-5)
