"""Trained VQA models in use.

Shapes: B questions, C answers, K regions.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from bua.data.vqa.dataset import pad_questions
from bua.errors import InputError
from bua.inference.predictor import Image, Predictor, VQAOutput, VQAPrediction
from bua.structures.region_batch import RegionBatch
from bua.structures.regions import Regions
from bua.text.answers import AnswerVocabulary


class VQAPredictor(Predictor):
    """A trained VQA model; see ``Predictor`` for arguments and errors."""

    does = "answers questions"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.answers = AnswerVocabulary.from_dict(self.record["answers"], self.source)

    def ask(self, image: Image | Regions, question: str, *, candidates: int = 5, **_: Any) -> VQAOutput:
        """Answer a question about one image.

        Args:
            image: Path, pixels (H, W, 3), Pillow image, or regions.
            question: Text of the question.
            candidates: Number of answers to return. Default: 5.

        Raises:
            InputError: If the question is empty, or the image cannot be read.
        """
        if not question.strip():
            raise InputError("question is empty; give a question")
        regions = self.detect(image)
        [prediction] = self.answer_batch(self.to_batch(regions), [question], candidates=candidates)
        return VQAOutput(prediction.candidates, prediction.attention, regions)

    def answer_batch(
        self, regions: RegionBatch, questions: Sequence[str], *, candidates: int = 1
    ) -> list[VQAPrediction]:
        """Answer a batch of questions.

        Args:
            regions: Regions of the image of each question.
            questions: Texts of the questions.
            candidates: Number of answers per question. Default: 1.
        """
        return self.predictions(*self.scores(regions, questions), candidates)

    @torch.no_grad()
    def scores(
        self, regions: RegionBatch, questions: Sequence[str]
    ) -> tuple[Float[Tensor, "B C"], list[NDArray[np.float32]]]:
        """Return the scores of all answers, 0 to 1, and the attention over each image's regions, (K,)."""
        encoded = [self.vocabulary.encode(question) for question in questions]
        words = pad_questions(encoded, self.record["max_length"], self.record["padding"]).to(self.device)
        with self.autocast:
            logits, weights = self.model(regions.to(self.device), words)
        attention = weights.float().cpu().numpy()
        num_regions = regions.mask.sum(1).tolist()
        if not bool(logits.isfinite().all()):
            raise InputError(f"{self.source}: its scores are not finite; its weights are broken")
        return logits.float().sigmoid(), [
            row[:count] for row, count in zip(attention, num_regions, strict=True)
        ]

    def predictions(
        self, scores: Float[Tensor, "B C"], weights: Sequence[NDArray[np.float32]], candidates: int
    ) -> list[VQAPrediction]:
        """Return the answers with the highest scores, in their surface forms."""
        best = scores.topk(min(candidates, len(self.answers)))
        surface = self.answers.surface_forms
        return [
            VQAPrediction([(surface[n], score) for n, score in zip(*pair, strict=True)], attention)
            for *pair, attention in zip(best.indices.tolist(), best.values.tolist(), weights, strict=True)
        ]
