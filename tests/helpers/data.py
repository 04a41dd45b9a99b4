"""DataModules over a small synthetic data set, with every option to change by name."""

import json
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningDataModule

from bua.data.captions.datamodule import CaptionDataModule, CaptionSource, VocabularyOptions
from bua.data.vqa.datamodule import VQADataModule
from bua.data.vqa.options import AnswerOptions, QuestionOptions, VisualGenomeSource, VQASource


def write_json(folder: Path, content: Any, name: str = "file.json") -> str:
    """Write a text, or anything else as JSON, and return the path of the file."""
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def first_batch(data: LightningDataModule, split: str) -> Any:
    """Return the first batch of "train" or "val" as a trainer gives it to the model."""
    loader = data.train_dataloader() if split == "train" else data.val_dataloader()
    return data.on_after_batch_transfer(next(iter(loader)), 0)


def caption_data(scenes: Path, **changes: Any) -> CaptionDataModule:
    """Return a DataModule of captions; options of its parts are named flat, such as ``train_ids``."""
    options = {
        "features": str(scenes / "regions.h5"),
        "train": str(scenes / "captions_train.json"),
        "val": str(scenes / "captions_val.json"),
        "train_splits": [],
        "val_splits": [],
        "train_ids": None,
        "val_ids": None,
        "tokenizer": "karpathy",
        "min_count": 1,
        "count_from": "train",
        "vocabulary": None,
        **changes,
    }
    sources = {
        split: CaptionSource(
            file=options[split], splits=options[f"{split}_splits"], ids=options[f"{split}_ids"]
        )
        for split in ("train", "val")
    }
    names = ("tokenizer", "min_count", "count_from")
    vocabulary = options["vocabulary"] or VocabularyOptions(**{name: options[name] for name in names})
    rest = {name: changes[name] for name in changes if name not in {*names, *_CAPTION_PARTS}}
    defaults = {
        "image_key": "id",
        "max_length": 16,
        "captions_per_image": None,
        "geometry": None,
        "batch_size": 5,
        "num_workers": 0,
        "seed": 0,
    }
    return CaptionDataModule(
        features=options["features"], **sources, vocabulary=vocabulary, **{**defaults, **rest}
    )


_CAPTION_PARTS = (
    *("features", "train", "val", "train_splits", "val_splits", "train_ids", "val_ids", "vocabulary"),
)


def vqa_data(scenes: Path, **changes: Any) -> VQADataModule:
    """Return a DataModule of questions; options of its parts are named flat, such as ``min_answer_count``."""
    options = {
        "features": str(scenes / "regions.h5"),
        "train": str(scenes / "questions_train.json"),
        "train_annotations": str(scenes / "annotations_train.json"),
        "val": str(scenes / "questions_val.json"),
        "val_annotations": str(scenes / "annotations_val.json"),
        "tokenizer": "vqa",
        "min_count": 1,
        "extra_files": [],
        "max_length": 14,
        "padding": "front",
        "min_answer_count": 1,
        "count_from": "train",
        "answers": None,
        "keep_empty": False,
        "soft_scores": "official",
        "visual_genome": None,
        "visual_genome_images": None,
        "pairs": None,
        "geometry": 1.0,
        "batch_size": 9,
        "num_workers": 0,
        "seed": 0,
        "drop_last": False,
    }
    assert changes.keys() <= options.keys(), changes.keys() - options.keys()
    options |= changes
    question_names = ("tokenizer", "min_count", "extra_files", "max_length", "padding")
    return VQADataModule(
        train=VQASource(questions=options["train"], annotations=options["train_annotations"]),
        val=VQASource(questions=options["val"], annotations=options["val_annotations"]),
        questions=QuestionOptions(**{name: options[name] for name in question_names}),
        answers=AnswerOptions(
            min_count=options["min_answer_count"],
            count_from=options["count_from"],
            file=options["answers"],
            keep_empty=options["keep_empty"],
            soft_scores=options["soft_scores"],
        ),
        visual_genome=VisualGenomeSource(
            questions=options["visual_genome"], images=options["visual_genome_images"]
        ),
        **{
            name: options[name]
            for name in ("features", "pairs", "geometry", "batch_size", "num_workers", "seed", "drop_last")
        },
    )
