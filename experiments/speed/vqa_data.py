"""Measure the data of VQA: reading of annotations, loading of regions, validation.

All files have the size of those of VQA v2 and random contents, on which the times do not depend.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf
from timing import DEVICE_NAMES, Row
from torch import nn

from bua.data.vqa.datamodule import VQADataModule
from bua.engine.instantiate import instantiate
from bua.store import Regions, StoreMetadata, StoreWriter

#: Number of questions and of images of the splits of VQA v2.
SPLITS = {"train": (443_757, 82_783), "val": (214_354, 40_504)}
#: Number of answers that a model of VQA v2 knows.
ANSWERS = 3129


def write_split(
    folder: Path, split: str, questions: int, images: list[int], first_id: int, answers: int = 20_000
) -> None:
    """Write questions and annotations of a split, with answers as unequally frequent as real ones.

    Args:
        folder: Folder of ``SPLIT_q.json`` and ``SPLIT_a.json``.
        split: Name of the split.
        questions: Number of questions, in the order of the images.
        images: Ids of the images.
        first_id: Id of the first question.
        answers: Number of different answers that are the most frequent one of a question.
    """
    rng = np.random.default_rng(len(split))
    most_frequent = np.minimum(rng.zipf(1.3, questions), 10**6) % answers
    others = np.minimum(rng.zipf(1.15, (questions, 10)), 10**6) % 200_000
    annotated = np.where(rng.random((questions, 10)) < 0.7, most_frequent[:, None], others)
    words = np.minimum(rng.zipf(1.2, (questions, 11)), 10**6) % 16_000
    lengths = rng.integers(4, 12, questions)
    question_path, annotation_path = folder / f"{split}_q.json", folder / f"{split}_a.json"
    with open(question_path, "w") as question_file, open(annotation_path, "w") as annotation_file:
        question_file.write('{"license": {}, "questions": [')
        annotation_file.write('{"license": {}, "annotations": [')
        for n in range(questions):
            image, comma = images[n * len(images) // questions], ", " if n else ""
            ids = {"question_id": first_id + n, "image_id": image}
            text = " ".join(f"word{w}" for w in words[n, : lengths[n]]) + "?"
            question_file.write(comma + json.dumps({**ids, "question": text}))
            annotation = {
                **ids,
                "question_type": f"type {n % 65}",
                "answer_type": ("yes/no", "number", "other")[n % 3],
                "multiple_choice_answer": f"answer {most_frequent[n]}",
                "answers": [
                    {"answer": f"answer {a}", "answer_confidence": "yes", "answer_id": k}
                    for k, a in enumerate(annotated[n].tolist(), 1)
                ],
            }
            annotation_file.write(comma + json.dumps(annotation))
        question_file.write("]}")
        annotation_file.write("]}")


def write_store(path: Path, images: list[int], regions: int, feature_size: int) -> None:
    """Write a feature store with equally many regions of every image."""
    rng = np.random.default_rng(0)
    features = rng.random((16, regions, feature_size), dtype=np.float32).astype(np.float16)
    boxes = np.tile(np.array([[0, 0, 40, 50]], np.float32), (regions, 1))
    with StoreWriter(path, StoreMetadata("speed", {}, "0")) as writer:
        for start in range(0, len(images), 2000):
            part = images[start : start + 2000]
            writer.write([(i, Regions(features[i % 16], boxes, (50, 50))) for i in part])
        writer.pack(images)


def compose_training(**values: Any) -> DictConfig:
    """Return the configuration for training ``updown_hu`` in its published size, with other values."""
    with initialize_config_module("bua.conf", version_base="1.3"):
        config = compose("train", ["objective=vqa", "data=vqa", "model=updown_hu", "optimizer=adamax"])
    return cast(DictConfig, OmegaConf.merge(config, values))


def make_data(folder: Path, train: list[str], val: str, **data: Any) -> VQADataModule:
    """Return the data of a folder as ``bua train`` would.

    Args:
        folder: Folder of the files and the store ``f.h5``.
        train: Splits to train on.
        val: Split to validate on.
        data: Values of the data configuration.
    """
    config = compose_training(
        features=str(folder / "f.h5"),
        questions=[str(folder / f"{split}_q.json") for split in train],
        annotations=[str(folder / f"{split}_a.json") for split in train],
        val_questions=str(folder / f"{val}_q.json"),
        val_annotations=str(folder / f"{val}_a.json"),
        data=data,
    )
    module: VQADataModule = instantiate(config.data)
    return module


def resident_memory(field: str = "VmRSS") -> float:
    """Return the megabytes of memory that this process holds, or at peak with the field VmHWM.

    ``getrusage`` would not do: it counts at least what the parent process held.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(field))


def hold(folder: str) -> None:
    """Read the questions of train and val in a process of its own, and print what it took as JSON."""
    before, started = resident_memory(), time.process_time()
    data = make_data(Path(folder), ["train", "val"], "val")
    seconds = time.process_time() - started
    peak, held = (resident_memory(field) - before for field in ("VmHWM", "VmRSS"))
    print(json.dumps([len(data.train_set), seconds, peak, held]))


def measure_annotations() -> Row:
    """Measure time and memory for train and val of VQA v2 to train on, and val to validate on."""
    with tempfile.TemporaryDirectory() as name:
        folder, image_ids = Path(name), []
        for split, (questions, images) in SPLITS.items():
            ids = list(range(len(image_ids), len(image_ids) + images))
            write_split(folder, split, questions, ids, len(image_ids) * 1000)
            image_ids += ids
        write_store(folder / "f.h5", image_ids, 1, 4)
        command = [sys.executable, "-c", f"from vqa_data import hold; hold({name!r})"]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parent)
    count, seconds, peak, held = json.loads(done.stdout.splitlines()[-1])
    return {
        "what": f"reading {count:,} questions with ten answers each to train on, and {SPLITS['val'][0]:,} to "
        "validate on",
        "value": f"{seconds:.0f} s on one core, peak memory {peak:.0f} MB, {held:.0f} MB afterwards",
        "target": "at most 1,000 MB",
    }


def drop_from_page_cache(path: Path) -> None:
    """Make the system forget the contents of a file, so that it is read from disk."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


class TimedModel(nn.Module):
    """A model with a clock that sums the time of its calls."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.seconds = model, 0.0

    def forward(self, *args: Any) -> Any:
        """Call the model."""
        started = time.perf_counter()
        result = self.model(*args)
        self.seconds += time.perf_counter() - started
        return result


@contextmanager
def large_files(images: int, questions: int) -> Iterator[Path]:
    """Yield a folder with questions about images of 36 regions with 2,048 features."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_split(folder, "val", questions, list(range(images)), 0, ANSWERS)
        write_store(folder / "f.h5", list(range(images)), 36, 2048)
        yield folder


def make_task(data: VQADataModule) -> Any:
    """Return ``updown_hu`` in its published size, untrained, with its optimizer."""
    torch.manual_seed(0)
    config = compose_training(model=data.sizes)
    return instantiate(
        config.objective,
        model=TimedModel(instantiate(config.model)),
        optimizer=instantiate(config.optimizer),
        scheduler=None,
        record={},
        **data.parts,
    )


def measure_loading(batches: int = 24, device: str = "cpu") -> Row:
    """Measure how long training waits for shuffled questions, with no features in the page cache."""
    questions = batches * 512
    with large_files(questions, questions) as folder:
        data = make_data(folder, ["val"], "val", num_workers=2, answers={"min_count": 1})
        task = make_task(data).train().to(device)
        optimizer = task.configure_optimizers()
        drop_from_page_cache(data.store.path)
        waits, started = [], time.perf_counter()
        loader = iter(data.train_dataloader())
        step_start = started
        while (batch := next(loader, None)) is not None:
            waits.append(time.perf_counter() - step_start)
            optimizer.zero_grad()
            task.loss(task.transfer_batch_to_device(batch, torch.device(device), 0))[0].backward()
            optimizer.step()
            if device == "cuda":
                torch.cuda.synchronize()
            step_start = time.perf_counter()
        seconds = step_start - started
    return {
        "what": f"time that training of `updown_hu` on {DEVICE_NAMES[device]} waits for data: {batches} "
        "batches of 512 questions, each about an image of its own with 36 x 2,048 features, 2 workers, file "
        "not in the page cache",
        "value": f"{sum(waits[1:]):.2f} s of {seconds:.1f} s (at most {max(waits[1:]):.2f} s for a batch), "
        f"and {waits[0]:.1f} s for the first batch",
        "target": "only for the first batch",
    }


def measure_validation(questions: int = SPLITS["val"][0]) -> Row:
    """Measure the share of a validation outside the model, with and without reading the questions."""
    images = questions // 5
    with large_files(images, questions) as folder:
        write_split(folder, "train", 100, list(range(images)), questions, ANSWERS)  # as few as possible
        started = time.perf_counter()
        answers = {"min_count": 1, "count_from": "train_val"}
        data = make_data(folder, ["train"], "val", num_workers=2, answers=answers)
        reading = time.perf_counter() - started
        task = make_task(data)
        trainer = instantiate(compose_training().trainer, logger=False, enable_checkpointing=False)
        drop_from_page_cache(data.store.path)
        started = time.perf_counter()
        trainer.validate(task, data, verbose=False)
        seconds = time.perf_counter() - started
    model = task.model.seconds
    return {
        "what": f"share of time outside the model in a validation of `updown_hu` on {questions:,} questions, "
        "2 workers",
        "value": f"{1 - model / seconds:.1%} ({1 - model / (seconds + reading):.1%} including the reading of "
        "the questions)",
        "target": "at most 10%",
    }
