"""Public names of the classes that checkpoints and feature stores mention.

A configuration names a class by its Python path (``_target_``), and paths move. A checkpoint or a store
names it under the key ``class`` by its name alone, and ``MODULES`` gives its current module. When a class
moves, its line changes; when a class is renamed, its old name goes into ``RENAMED``. Files written before
still load, including those of early versions that hold ``_target_`` paths.
"""

from collections.abc import Callable, Mapping
from typing import Any

from bua.errors import InputError

#: The module of every class that a checkpoint or a store may name.
MODULES: dict[str, str] = {
    # captioners
    "Att2inCaptioner": "bua.models.captioners.att2in",
    "BoxGeometry": "bua.models.captioners.positional_encoding",
    "CaffeUpDownCaptioner": "bua.models.captioners.updown_caffe",
    "MeanPooledCaptioner": "bua.models.captioners.mean_pooled",
    "SoftAttentionCaptioner": "bua.models.captioners.soft_attention",
    "TransformerCaptioner": "bua.models.captioners.transformer",
    "UpDownCaptioner": "bua.models.captioners.updown",
    # VQA models and their parts
    "BilinearVQAModel": "bua.models.vqa.ban",
    "CoAttentionVQAModel": "bua.models.vqa.mcan",
    "ConcatAttention": "bua.models.attention",
    "Counter": "bua.models.vqa.counting",
    "GatedLayers": "bua.models.layers",
    "MeanPooling": "bua.models.attention",
    "ProductAttention": "bua.models.attention",
    "QuestionOnlyVQAModel": "bua.models.vqa.question_only",
    "TwoStreamVQAModel": "bua.models.vqa.two_stream",
    "UpDownVQAModel": "bua.models.vqa.updown",
    "WeightNormLayers": "bua.models.layers",
    # detectors and their parts
    "ArgmaxSelection": "bua.detectors.selection",
    "C4Detector": "bua.detectors.c4.detector",
    "C4RCNN": "bua.detectors.c4.model",
    "ClassAgnosticSelection": "bua.detectors.selection",
    "FpnDetector": "bua.detectors.fpn",
    "GridDetector": "bua.detectors.grid",
    "NarrowPyramid": "bua.detectors.pyramid",
    "NarrowPyramidRCNN": "bua.detectors.pyramid",
    "PyramidDetector": "bua.detectors.pyramid",
    "RandomDetector": "bua.detectors.random_detector",
    "Resize": "bua.detectors.photo",
    "Selection": "bua.detectors.selection",
    "TorchvisionRCNN": "bua.detectors.fpn",
    # searches
    "BeamSearch": "bua.decode",
    "DiverseBeamSearch": "bua.decode",
    "LengthPenalty": "bua.decode",
    "Rules": "bua.decode",
    "Sampling": "bua.decode",
    # data and their parts
    "AnswerOptions": "bua.data.vqa.options",
    "CaptionDataModule": "bua.data.captions.datamodule",
    "CaptionSource": "bua.data.captions.datamodule",
    "DetectionDataModule": "bua.data.detection.datamodule",
    "QuestionOptions": "bua.data.vqa.options",
    "VQADataModule": "bua.data.vqa.datamodule",
    "VQASource": "bua.data.vqa.options",
    "VisualGenomeSource": "bua.data.vqa.options",
    "VocabularyOptions": "bua.data.captions.datamodule",
    # tasks and their parts
    "AnswerLoss": "bua.tasks.vqa",
    "CaptionCrossEntropyTask": "bua.tasks.captioning",
    "DetectionTask": "bua.tasks.detection",
    "EpochwiseLR": "bua.tasks.schedulers",
    "LossReduction": "bua.tasks.captioning",
    "NoamLR": "bua.tasks.schedulers",
    "OneCycleLR": "bua.tasks.schedulers",
    "Reward": "bua.tasks.self_critical",
    "ScheduledSampling": "bua.tasks.captioning",
    "SelfCriticalTask": "bua.tasks.self_critical",
    "VQATask": "bua.tasks.vqa",
}
#: Former names of these classes, and their current ones.
RENAMED: dict[str, str] = {
    "Answering": "VQATask",
    "BilinearAnswerer": "BilinearVQAModel",
    "CoAttentionAnswerer": "CoAttentionVQAModel",
    "CrossEntropy": "CaptionCrossEntropyTask",
    "Detecting": "DetectionTask",
    "Normaliser": "LossReduction",
    "NormedLayers": "WeightNormLayers",
    "QuestionOnlyAnswerer": "QuestionOnlyVQAModel",
    "SelfCritical": "SelfCriticalTask",
    "TwoStreamAnswerer": "TwoStreamVQAModel",
    "UpDownAnswerer": "UpDownVQAModel",
}


#: Key that names a class in a file. No argument can have this name, because it is a Python keyword.
CLASS = "class"


def to_public(config: Any) -> Any:
    """Return a copy of plain values in which every class is named by its current public name.

    Args:
        config: Dictionaries, lists and values; a dictionary may name a class by ``_target_`` (a Python
            path) or by ``class`` (a public name, current or former). The path of a class that is not in
            ``MODULES``, such as one of another package, is kept as its name.
    """
    return _rename(config, CLASS, _public_name)


def to_targets(record: Any) -> Any:
    """Return a copy of plain values in which every class is named by its current Python path.

    Args:
        record: Plain values as ``to_public`` takes and returns them.

    Raises:
        InputError: If a public name is unknown.
    """
    return _rename(record, "_target_", lambda name: _path(_public_name(name)))


def _rename(node: Any, key: str, rename: Callable[[str], str]) -> Any:
    if isinstance(node, list | tuple):
        return [_rename(value, key, rename) for value in node]
    if not isinstance(node, Mapping):
        return node
    renamed = {}
    for name, value in node.items():
        is_class = name in ("_target_", CLASS) and isinstance(value, str)
        renamed[key if is_class else name] = rename(value) if is_class else _rename(value, key, rename)
    return renamed


def _public_name(name: str) -> str:
    """Return the public name of a class that is named by a path, or by its current or a former name.

    Only the last part of a path of bua counts, whatever module it names, because modules move.
    """
    is_ours = name.startswith("bua.") or "." not in name
    last = name.rpartition(".")[2]
    known = RENAMED.get(last, last)
    return known if is_ours and known in MODULES else name


def _path(name: str) -> str:
    if "." in name:
        return name
    if name not in MODULES:
        raise InputError(f"class {name!r} does not exist; if a newer bua wrote the file, update bua")
    return f"{MODULES[name]}.{name}"
