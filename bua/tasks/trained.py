"""A trained model in use: regions or photographs in, words out, with where it looked.

Shapes: K regions, T words.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from torch import nn

from bua.data.batch import RegionInput, pad_questions
from bua.errors import InputError
from bua.regions.detector import Detector, Photo, look
from bua.regions.photo import read_photo
from bua.store.reader import FeatureStore, ImageId, Padded
from bua.store.regions import Regions
from bua.tasks.captioning import caption_regions
from bua.text.answers import AnswerVocabulary
from bua.text.vocabulary import Vocabulary

Image = Path | str | Photo | PIL.Image.Image


@dataclass(frozen=True)
class Caption:
    """What was said of one image.

    Attributes:
        text: the caption.
        words: its words.
        log_prob: sum of the log-probabilities of its words and its end.
        weights: (T, K), how much each word looked at each region.
        regions: the regions.
    """

    text: str
    words: list[str]
    log_prob: float
    weights: NDArray[np.float32]
    regions: Regions


@dataclass(frozen=True)
class Answer:
    """The answer to one question about one image.

    Attributes:
        text: the best answer.
        score: its score, 0 to 1.
        candidates: the best answers with their scores, best first.
        weights: (K,), how much each region was looked at.
        regions: the regions.
    """

    text: str
    score: float
    candidates: list[tuple[str, float]]
    weights: NDArray[np.float32]
    regions: Regions


class Trained:
    """A captioner or a VQA model with everything that it needs to be used.

    Args:
        model: in the state in which it was saved.
        record: what its checkpoint says: kind, vocabulary, region_input, features.
        detector: makes the detector whose features the model was trained on; called once, when
            a photograph is first given.
        source: what to call it in errors.
        device: to run on.
    """

    def __init__(
        self,
        model: nn.Module,
        record: Mapping[str, Any],
        *,
        detector: Callable[[], Detector],
        source: str,
        device: str = "cpu",
    ) -> None:
        self.model, self.record, self.source = model.to(device).eval(), record, source
        self.device = torch.device(device)
        self.kind = str(record["kind"])
        self.vocabulary = Vocabulary.from_dict(record["vocabulary"], source)
        self.answers = AnswerVocabulary.from_dict(record["answers"], source) if self.kind == "vqa" else None
        self.region_input = RegionInput(**record["region_input"])
        self._make_detector = detector
        self._detector: Detector | None = None

    @property
    def detector(self) -> Detector:
        """The detector, made when it is first needed."""
        if self._detector is None:
            self._detector = self._make_detector()
        return self._detector

    def regions(self, image: Image | Regions) -> Regions:
        """Return the regions of a photograph, given as a path, a Pillow image or pixels (H, W, 3)."""
        if isinstance(image, Regions):
            return image
        if isinstance(image, PIL.Image.Image):
            photo = np.array(image.convert("RGB"))
        else:
            photo = image if isinstance(image, np.ndarray) else read_photo(image)
        if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8:
            raise InputError(f"pixels are {photo.shape} {photo.dtype}; (height, width, 3) uint8 is needed")
        return look(self.detector, photo)

    def caption(self, image: Image | Regions, *, width: int = 5, max_words: int = 20) -> Caption:
        """Describe one image.

        Args:
            image: a path, pixels (H, W, 3) or regions.
            width: beams; 1 is greedy.
            max_words: longest caption, its end included.
        """
        self._must_be("caption")
        regions = self.regions(image)
        features, mask = self._tensors(regions)
        found = caption_regions(self.model, features, mask, width=width, max_words=max_words)
        words = self.vocabulary.decode(found.words[0, 0].tolist())
        weights = found.weights[0, 0, : len(words)].cpu().numpy()
        return Caption(" ".join(words), words, float(found.log_prob[0, 0]), weights, regions)

    def ask(self, image: Image | Regions, question: str, *, candidates: int = 5) -> Answer:
        """Answer a question about one image.

        Args:
            image: a path, pixels (H, W, 3) or regions.
            question: in words.
            candidates: so many answers are returned.
        """
        self._must_be("vqa")
        if not question.strip():
            raise InputError("question is empty; ask something")
        regions = self.regions(image)
        scores, weights = self._score(*self._tensors(regions), [question])
        assert self.answers is not None
        best = scores[0].topk(min(candidates, len(self.answers)))
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        found = [(self.answers.surface[n], float(score)) for n, score in pairs]
        return Answer(*found[0], found, weights[0].cpu().numpy(), regions)

    def caption_store(
        self, store: FeatureStore, image_ids: Sequence[ImageId], *, width: int, max_words: int
    ) -> list[str]:
        """Caption images of a store, as one batch."""
        self._must_be("caption")
        features, mask = self.region_input.load(store, image_ids)
        found = caption_regions(
            self.model, features.to(self.device), mask.to(self.device), width=width, max_words=max_words
        )
        return [" ".join(self.vocabulary.decode(words)) for words in found.words[:, 0].tolist()]

    def answer_store(
        self, store: FeatureStore, image_ids: Sequence[ImageId], questions: Sequence[str]
    ) -> list[str]:
        """Answer questions about images of a store, as one batch."""
        self._must_be("vqa")
        features, mask = self.region_input.load(store, image_ids)
        scores, _ = self._score(features.to(self.device), mask.to(self.device), questions)
        assert self.answers is not None
        return [self.answers.surface[n] for n in scores.argmax(1).tolist()]

    def check_features(self, identity: Mapping[str, Any], source: str) -> None:
        """Raise ``InputError`` if features are not of the detector that the model was trained on."""
        trained = self.record["features"]
        for key in ("detector", "weights_sha256", "configuration"):
            if trained[key] != identity[key]:
                raise InputError(
                    f"{source}: features of another detector than {self.source} was trained on: "
                    f"{key} is {identity[key]}, not {trained[key]}; extract with that one, or give "
                    "any_features=true"
                )

    def _must_be(self, kind: str) -> None:
        if self.kind != kind:
            does = {"caption": "captions", "vqa": "answers questions"}
            raise InputError(f"{self.source}: this model {does.get(self.kind, self.kind)}; another is needed")

    def _tensors(self, regions: Regions) -> tuple[torch.Tensor, torch.Tensor]:
        features = np.array(regions.features, np.float32)
        padded = Padded(
            features[None],
            np.array(regions.boxes)[None],
            np.ones((1, len(regions)), np.bool_),
            np.array([regions.size], np.int32),
        )
        tensors = self.region_input.tensors(padded)
        return tensors[0].to(self.device), tensors[1].to(self.device)

    @torch.no_grad()
    def _score(
        self, features: torch.Tensor, mask: torch.Tensor, questions: Sequence[str]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        encoded = [self.vocabulary.encode(question) for question in questions]
        words = pad_questions(encoded, self.record["length"]).to(self.device)
        logits, weights = self.model(features, mask, words)
        return logits.sigmoid(), weights
