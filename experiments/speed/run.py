"""Measure what the design promises: python experiments/speed/run.py [DATA] writes results.json here.

DATA is a folder of real photographs and features; what needs them stays unmeasured without it.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from extraction import extraction_memory, extraction_share
from importing import import_speed
from torch import Tensor, nn
from torch.nn import functional as F

from bua.data.batch import CaptionBatch
from bua.models.captioner import UpDownCaptioner
from bua.regions.select import Selection
from bua.store import About, FeatureStore, Regions, StoreWriter
from bua.tasks.captioning import caption_regions


def seconds(function: Callable[[], Any], times: int) -> float:
    """Return the median time of a call, after one that does not count."""
    function()
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        function()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def help_seconds() -> dict[str, str]:
    """Time ``bua --help`` as a process."""
    command = [sys.executable, "-m", "bua", "--help"]
    took = seconds(lambda: subprocess.run(command, check=True, capture_output=True), 7)
    return {"what": "`bua --help`", "value": f"{took:.2f} s", "wanted": "0.5 s"}


def store_reading() -> dict[str, str]:
    """Read shuffled batches of 10 to 100 regions x 2048 float16, warm."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "f.h5"
        with StoreWriter(path, About("speed", {}, "0")) as writer:
            images = []
            for n in range(1500):
                count = int(rng.integers(10, 101))
                features = rng.integers(0, 9, (count, 2048)).astype(np.float16)
                images.append((n, Regions(features, np.ones((count, 4), np.float32), (9, 9))))
            writer.write(images)
            writer.pack(range(1500))
        store, order = FeatureStore(path), rng.permutation(1500).tolist()

        def read() -> None:
            for start in range(0, 1500, 50):
                store.padded(order[start : start + 50])

        speed = 1500 / seconds(read, 9)
    return {
        "what": "reading the store, shuffled, padded batches of 50, 10 to 100 regions x 2048, warm",
        "value": f"{speed:,.0f} images/s",
        "wanted": "20,000 images/s",
    }


def selection() -> dict[str, str]:
    """Select among 300 boxes x 1601 classes, against one suppression a class."""
    from torchvision.ops import nms

    torch.manual_seed(0)
    corner = torch.rand(300, 2) * 500
    boxes = torch.cat([corner, corner + 20 + torch.rand(300, 2) * 200], 1)
    logits = torch.randn(300, 1601)
    logits[torch.arange(300), torch.randint(1, 1601, (300,))] += 9
    probabilities = logits.softmax(1)
    rule = Selection(min_regions=10, max_regions=100, threshold=0.2, nms_iou=0.3, pixel=1)

    def loop() -> Tensor:
        worth = torch.zeros(300)
        for c in range(1, 1601):
            kept = nms(boxes, probabilities[:, c], 0.3)
            worth[kept] = torch.maximum(worth[kept], probabilities[kept, c])
        return worth

    ratio = seconds(loop, 5) / seconds(lambda: rule(boxes, probabilities), 9)
    return {
        "what": "region selection, 300 x 1601, against a loop of `torchvision.ops.nms` over the classes",
        "value": f"{ratio:.0f} times as fast",
        "wanted": "50 times",
    }


class PlainUpDown(nn.Module):
    """The captioner as it is usually transcribed: one LSTMCell call and one logit layer a word."""

    def __init__(self, model: UpDownCaptioner) -> None:
        super().__init__()
        self.m = model

    def forward(self, features: Tensor, mask: Tensor, words: Tensor) -> Tensor:
        """Return logits (B x N, T, V)."""
        m, n = self.m, words.shape[1]
        v = m.dropout(m.region(features).relu()).repeat_interleave(n, 0)
        keys = m.key(v)
        mean = (features * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
        mean = m.dropout(m.mean(mean).relu()).repeat_interleave(n, 0)
        real, words = mask.repeat_interleave(n, 0), words.flatten(0, 1)
        h1 = c1 = h2 = c2 = v.new_zeros(len(v), m.hidden_size)
        out = []
        for t in range(words.shape[1]):
            x = m.dropout(m.word(words[:, t]).relu())
            h1, c1 = m.attention_lstm(torch.cat([h2, mean, x], 1), (h1, c1))
            scores = m.attention.score(torch.tanh(keys + m.attention.query(h1).unsqueeze(1))).squeeze(-1)
            weights = scores.masked_fill(~real, -1e9).softmax(1)
            attended = torch.bmm(weights.unsqueeze(1), v).squeeze(1)
            h2, c2 = m.language_lstm(torch.cat([attended, h1], 1), (h2, c2))
            out.append(m.logits(m.dropout(h2)))
        return torch.stack(out, 1)


def captioner() -> list[dict[str, str]]:
    """Time a cross-entropy step at the size of self-critical.pytorch, and beam search."""
    torch.manual_seed(0)
    model = UpDownCaptioner(
        feature_size=2048,
        vocabulary_size=9488,
        word_size=1000,
        hidden_size=1000,
        attention_size=512,
        dropout=0.5,
    )
    features, mask = torch.randn(10, 36, 2048), torch.ones(10, 36, dtype=torch.bool)
    words = torch.randint(4, 9488, (10, 5, 18))
    batch = CaptionBatch([*range(10)], features, mask, words, [[]] * 10)
    plain = PlainUpDown(model)

    def step(run: nn.Module) -> None:
        logits = run(batch.features, batch.mask, batch.words[..., :-1]).reshape(-1, 9488)
        F.cross_entropy(logits, words[..., 1:].reshape(-1)).backward()
        model.zero_grad()

    ratio = seconds(lambda: step(plain), 3) / seconds(lambda: step(model), 3)
    rows = [
        {
            "what": "cross-entropy step of the Up-Down captioner (1000/1000/512, 36 x 2048, 9,488 words, "
            "10 x 5 captions), against a plain loop of `LSTMCell`",
            "value": f"{ratio:.2f} times as fast",
            "wanted": "1.8 times",
        }
    ]
    model.eval()
    some = torch.randn(50, 36, 2048)
    took = seconds(
        lambda: caption_regions(model, some, torch.ones(50, 36, dtype=torch.bool), width=5, max_words=20), 3
    )
    rows.append(
        {"what": "beam search, 5 beams, 50 images, the same model", "value": f"{took:.2f} s", "wanted": ""}
    )
    return rows


def main() -> None:
    """Measure everything."""
    data = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    rows = [help_seconds(), store_reading(), selection(), *captioner()]
    rows += [import_speed(), *([extraction_share(data), extraction_memory(data)] if data else [])]
    machine = f"{os.cpu_count()} cores ({platform.machine()}), torch {torch.__version__}"
    results = {"machine": machine, "measurements": rows}
    (Path(__file__).parent / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    for row in rows:
        print(f"{row['what']}: {row['value']} (wanted: {row['wanted']})")


if __name__ == "__main__":
    main()
