"""The base class of trained models in use, and the types that they return.

Shapes: K regions, T words.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from torch import nn

from bua.data.image_lookup import RegionInput, to_relative
from bua.detectors.detector import Detector, autocast_context, detect_regions
from bua.detectors.photo import Photo, read_photo
from bua.detectors.photo_pixels import to_pixels
from bua.errors import InputError
from bua.store.reader import FeatureStore, PaddedRegions
from bua.structures.region_batch import RegionBatch
from bua.structures.regions import Regions
from bua.text.vocabulary import Vocabulary

#: An image: a path, pixels (H, W, 3), or a Pillow image.
Image = Path | str | Photo | PIL.Image.Image
#: Keys in which two detectors must agree to extract the same features.
IDENTITY = ("detector", "weights_sha256", "configuration")


@dataclass(frozen=True)
class CaptionCandidate:
    """One generated caption.

    Attributes:
        text: The caption.
        words: Words of the caption.
        log_prob: Sum of the log-probabilities of its words and its end token.
        attention: Attention of each word over the regions, shape (T, K); the mean over its subwords if a word
            was generated in several.
    """

    text: str
    words: list[str]
    log_prob: float
    attention: NDArray[np.float32]


@dataclass(frozen=True)
class CaptionOutput:
    """The captions of one image.

    Attributes:
        candidates: All captions that were found, best first.
        regions: Regions of the image.
    """

    candidates: list[CaptionCandidate]
    regions: Regions

    @property
    def text(self) -> str:
        """The best caption."""
        return self.candidates[0].text

    @property
    def words(self) -> list[str]:
        """Words of the best caption."""
        return self.candidates[0].words

    @property
    def log_prob(self) -> float:
        """Sum of the log-probabilities of the words of the best caption and its end token."""
        return self.candidates[0].log_prob

    @property
    def attention(self) -> NDArray[np.float32]:
        """Attention of each word of the best caption over the regions, shape (T, K)."""
        return self.candidates[0].attention


@dataclass(frozen=True)
class VQAPrediction:
    """The answer to one question.

    Attributes:
        candidates: The best answers with their scores, 0 to 1, best first.
        attention: Attention over the regions, shape (K,).
    """

    candidates: list[tuple[str, float]]
    attention: NDArray[np.float32]

    @property
    def text(self) -> str:
        """The best answer."""
        return self.candidates[0][0]

    @property
    def score(self) -> float:
        """Score of the best answer, 0 to 1."""
        return self.candidates[0][1]


@dataclass(frozen=True)
class VQAOutput(VQAPrediction):
    """The answer to one question about one image.

    Attributes:
        regions: Regions of the image.
    """

    regions: Regions


def merge_subword_attention(weights: NDArray[np.float32], lengths: Sequence[int]) -> NDArray[np.float32]:
    """Return the attention of each word as the mean over its subwords, shape (len(lengths), K).

    Args:
        weights: Attention of the subwords, shape (T, K); rows after the last word are ignored.
        lengths: Number of subwords of each word.
    """
    if not lengths:
        return weights[:0]
    counts = np.array(lengths)
    ends = counts.cumsum()
    sums = np.add.reduceat(weights[: ends[-1]], ends - counts)
    means: NDArray[np.float32] = (sums / counts[:, None]).astype(np.float32)
    return means


class Predictor:
    """A trained model with everything needed to use it.

    Args:
        model: Model with its trained weights.
        record: Plain values of its checkpoint: kind, vocabulary, region_input, features.
        make_detector: Factory of the detector whose features the model was trained on; called once, for the
            first image.
        source: Name of the model in messages, such as its run directory.
        device: Device to run on. Default: "cpu".
        precision: Precision of matrix products, one of ``PRECISIONS``. Default: "32-true".

    Raises:
        ValueError: If the precision does not exist on the device.
    """

    #: What the model does, used in messages.
    does: ClassVar[str]

    def __init__(
        self,
        model: nn.Module,
        record: Mapping[str, Any],
        *,
        make_detector: Callable[[], Detector],
        source: str,
        device: str = "cpu",
        precision: str = "32-true",
    ) -> None:
        self.model, self.record, self.source = model.to(device).eval(), record, source
        self.device = torch.device(device)
        self.autocast = autocast_context(self.device, precision)
        self.vocabulary = Vocabulary.from_dict(record["vocabulary"], source)
        self.region_input = RegionInput(**record["region_input"])
        self._make_detector = make_detector
        self._detector: Detector | None = None

    def caption(self, image: Image | Regions, **kwargs: Any) -> CaptionOutput:
        """Describe an image, if the model is a captioner; see ``CaptionPredictor.caption``."""
        self.refuse("captions")

    def ask(self, image: Image | Regions, question: str, **kwargs: Any) -> VQAOutput:
        """Answer a question about an image, if the model is a VQA model; see ``VQAPredictor.ask``."""
        self.refuse("answers questions")

    def refuse(self, needed: str) -> NoReturn:
        """Raise ``InputError`` because the model does not do what is needed, such as "captions"."""
        raise InputError(f"{self.source}: this model {self.does}; one that {needed} is needed")

    @property
    def detector(self) -> Detector:
        """The detector whose features the model was trained on, created on first use."""
        if self._detector is None:
            self._detector = self._make_detector()
        return self._detector

    @property
    def stretch_gray(self) -> bool:
        """Whether the features of the training were extracted with ``stretch_gray=true``."""
        configuration = self.record["features"].get("configuration", {})
        return bool(configuration.get("stretch_gray", False))

    def detect(self, image: Image | Regions) -> Regions:
        """Return the regions of an image; regions are returned as they are.

        Raises:
            InputError: If the image cannot be read, or its pixels are not (H, W, 3) of uint8.
        """
        if isinstance(image, Regions):
            return image
        if isinstance(image, PIL.Image.Image):
            photo, _ = to_pixels(image, stretch_gray=self.stretch_gray)
        elif isinstance(image, np.ndarray):
            photo = image
        else:
            photo = read_photo(image, stretch_gray=self.stretch_gray)
        if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8:
            raise InputError(f"pixels must be (height, width, 3) uint8, not {photo.shape} {photo.dtype}")
        return detect_regions(self.detector, photo)

    def to_batch(self, regions: Regions) -> RegionBatch:
        """Return the regions of one image as a batch on the device of the model.

        Raises:
            InputError: If the regions are invalid, or their feature size is not that of the model.
        """
        regions.check("that was given")
        self.check_feature_size(regions.features.shape[1], "the image")
        padded = PaddedRegions(
            np.array(regions.features, np.float32)[None],
            np.array(regions.boxes)[None],
            np.ones((1, len(regions)), np.bool_),
            np.array([regions.size], np.int32),
        )
        return self.region_input.convert(to_relative(padded)).to(self.device)

    def check_store(self, store: FeatureStore, *, allow_other_features: bool = False) -> None:
        """Raise ``InputError`` unless a store has the features that the model was trained on.

        Args:
            store: Feature store.
            allow_other_features: Whether to accept features of a different detector.
        """
        if not allow_other_features:
            self.check_features(store.metadata.identity, str(store.path))
        self.check_feature_size(store.feature_size, str(store.path))

    def check_feature_size(self, size: int, source: str) -> None:
        """Raise ``InputError`` unless features have the size that the model was trained on."""
        expected = self.record.get("model", {}).get("feature_size")
        given = self.region_input.feature_size(size)
        if expected is not None and given != expected:
            raise InputError(
                f"{source}: features have size {size}; {self.source} was trained on size "
                f"{size + expected - given}"
            )

    def check_features(self, identity: Mapping[str, Any], source: str) -> None:
        """Raise ``InputError`` unless features come from the detector that the model was trained with."""
        if key := self.feature_difference(identity):
            raise InputError(
                f"{source}: features of a different detector than {self.source} was trained on: {key} is "
                f"{identity[key]}, not {self.record['features'][key]}; extract with that one, or give "
                "allow_other_features=true"
            )

    def feature_difference(self, identity: Mapping[str, Any]) -> str | None:
        """Return the first key in which a detector differs from the one used in training, or ``None``."""
        trained = self.record["features"]
        return next((key for key in IDENTITY if trained[key] != identity[key]), None)
