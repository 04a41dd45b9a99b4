"""Measure what happens around a VQA model: reading annotations, loading regions, validating.

Everything is at the size of VQA v2 and drawn at random: the times do not depend on what is said.
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
from captioning import NAMES
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf
from torch import nn

from bua.data.vqa.datamodule import VQADataModule
from bua.engine.instantiate import instantiate
from bua.store import Regions, StoreMetadata, StoreWriter

Row = dict[str, str]
#: Questions and images of train and val of VQA v2.
SPLITS = {"train": (443_757, 82_783), "val": (214_354, 40_504)}
#: So many answers are known to a model of VQA v2.
ANSWERS = 3129


def write_split(
    folder: Path, split: str, questions: int, images: list[int], ids: int, answers: int = 20_000
) -> None:
    """Write questions and annotations of a split; answers are as unequal as answers are.

    Args:
        folder: of ``split_q.json`` and ``split_a.json``.
        split: its name.
        questions: their number, in the order of the images.
        images: ids.
        ids: the first question has this number.
        answers: so many different ones are the most frequent of a question.
    """
    rng = np.random.default_rng(len(split))
    said = np.minimum(rng.zipf(1.3, questions), 10**6) % answers
    others = np.minimum(rng.zipf(1.15, (questions, 10)), 10**6) % 200_000
    given = np.where(rng.random((questions, 10)) < 0.7, said[:, None], others)
    words = np.minimum(rng.zipf(1.2, (questions, 11)), 10**6) % 16_000
    lengths = rng.integers(4, 12, questions)
    with open(folder / f"{split}_q.json", "w") as asked, open(folder / f"{split}_a.json", "w") as answered:
        asked.write('{"license": {}, "questions": [')
        answered.write('{"license": {}, "annotations": [')
        for n in range(questions):
            image, comma = images[n * len(images) // questions], ", " if n else ""
            text = " ".join(f"word{w}" for w in words[n, : lengths[n]]) + "?"
            asked.write(comma + json.dumps({"question_id": ids + n, "image_id": image, "question": text}))
            record = {
                "question_id": ids + n,
                "image_id": image,
                "question_type": f"type {n % 65}",
                "answer_type": ("yes/no", "number", "other")[n % 3],
                "multiple_choice_answer": f"answer {said[n]}",
                "answers": [
                    {"answer": f"answer {a}", "answer_confidence": "yes", "answer_id": k}
                    for k, a in enumerate(given[n].tolist(), 1)
                ],
            }
            answered.write(comma + json.dumps(record))
        asked.write("]}")
        answered.write("]}")


def write_store(path: Path, images: list[int], count: int, size: int) -> None:
    """Write a store with ``count`` regions of ``size`` numbers an image."""
    rng = np.random.default_rng(0)
    some = rng.random((16, count, size), dtype=np.float32).astype(np.float16)
    boxes = np.tile(np.array([[0, 0, 40, 50]], np.float32), (count, 1))
    with StoreWriter(path, StoreMetadata("speed", {}, "0")) as writer:
        for start in range(0, len(images), 2000):
            part = images[start : start + 2000]
            writer.write([(i, Regions(some[i % 16], boxes, (50, 50))) for i in part])
        writer.pack(images)


def configured(**sections: dict[str, Any]) -> DictConfig:
    """Return the configuration of a training of ``updown_hu`` in its published size."""
    with initialize_config_module("bua.conf", version_base="1.3"):
        config = compose(
            "train", ["objective=vqa", "data=vqa", "model=updown_hu", "optimizer=adamax"]
        )
    return cast(DictConfig, OmegaConf.merge(config, sections))


def question_data(folder: Path, train: list[str], val: str, **more: Any) -> VQADataModule:
    """Return the data of a folder as the command line would."""
    files = {
        "features": str(folder / "f.h5"),
        "train": [str(folder / f"{split}_q.json") for split in train],
        "train_annotations": [str(folder / f"{split}_a.json") for split in train],
        "val": str(folder / f"{val}_q.json"),
        "val_annotations": str(folder / f"{val}_a.json"),
    }
    data: VQADataModule = instantiate(configured(data=files | more).data)
    return data


def resident(which: str = "VmRSS") -> float:
    """Return the megabytes of memory that this process holds, or with VmHWM held at most.

    What ``getrusage`` says is at least what the process held that started this one.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(which))


def hold(folder: str) -> None:
    """Hold the questions of train and val, and print what it took: in a process of its own."""
    before, started = resident(), time.process_time()
    data = question_data(Path(folder), ["train", "val"], "val")
    took = time.process_time() - started
    held = [resident(which) - before for which in ("VmHWM", "VmRSS")]
    print(json.dumps([len(data.train_set), took, *held]))


def annotations() -> Row:
    """Measure time and memory of train and val of VQA v2 to train on, and val to validate on."""
    with tempfile.TemporaryDirectory() as name:
        folder, every = Path(name), []
        for split, (questions, images) in SPLITS.items():
            ids = list(range(len(every), len(every) + images))
            write_split(folder, split, questions, ids, len(every) * 1000)
            every += ids
        write_store(folder / "f.h5", every, 1, 4)
        command = [sys.executable, "-c", f"from questions import hold; hold({name!r})"]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parent)
    count, took, most, held = json.loads(done.stdout.splitlines()[-1])
    return {
        "what": f"reading {count:,} questions with 10 answers each, and {SPLITS['val'][0]:,} to validate on",
        "value": f"{took:.0f} s of one core, {most:.0f} MB at most, {held:.0f} MB held",
        "wanted": "1,000 MB",
    }


def forget(path: Path) -> None:
    """Put a file out of the page cache."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


class Clock(nn.Module):
    """A model, and how long it took in all."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.seconds = model, 0.0

    def forward(self, *given: Any) -> Any:
        """Call the model."""
        started = time.perf_counter()
        found = self.model(*given)
        self.seconds += time.perf_counter() - started
        return found


@contextmanager
def coco_size(images: int, questions: int) -> Iterator[Path]:
    """Give a folder of questions on so many images of 36 regions of 2,048 numbers."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_split(folder, "val", questions, list(range(images)), 0, ANSWERS)
        write_store(folder / "f.h5", list(range(images)), 36, 2048)
        yield folder


def answerer(data: VQADataModule) -> Any:
    """Return ``updown_hu`` in its published size, untrained, with its optimiser."""
    torch.manual_seed(0)
    config = configured(model=data.sizes)
    return instantiate(
        config.objective,
        model=Clock(instantiate(config.model)),
        optimizer=instantiate(config.optimizer),
        scheduler=None,
        record={},
        **data.parts,
    )


def loading(batches: int = 24, device: str = "cpu") -> Row:
    """Measure how long training waits for shuffled questions, with nothing of them in the page cache."""
    questions = batches * 512
    with coco_size(questions, questions) as folder:
        data = question_data(folder, ["val"], "val", workers=2, min_answer_count=1)
        task = answerer(data).train().to(device)
        optimizer = task.configure_optimizers()
        forget(data.store.path)
        waits, begun = [], time.perf_counter()
        reading = iter(data.train_dataloader())
        started = begun
        while (batch := next(reading, None)) is not None:
            waits.append(time.perf_counter() - started)
            optimizer.zero_grad()
            task.loss(task.transfer_batch_to_device(batch, torch.device(device), 0))[0].backward()
            optimizer.step()
            if device == "cuda":
                torch.cuda.synchronize()
            started = time.perf_counter()
        took = started - begun
    return {
        "what": f"training of `updown_hu` on {batches} batches of 512 questions on as many images of 36 x "
        f"2,048 on {NAMES[device]}, 2 workers, nothing of the file in memory: waiting for a batch",
        "value": f"{sum(waits[1:]):.2f} s of {took:.1f} s ({max(waits[1:]):.2f} s at most), and "
        f"{waits[0]:.1f} s for the first",
        "wanted": "none but the first",
    }


def validating(questions: int = SPLITS["val"][0]) -> Row:
    """Measure what share of a validation is not the model, with and without reading the questions before."""
    images = questions // 5
    with coco_size(images, questions) as folder:
        write_split(folder, "train", 100, list(range(images)), questions, ANSWERS)  # there must be some
        started = time.perf_counter()
        data = question_data(folder, ["train"], "val", workers=2, min_answer_count=1, answers_of="train_val")
        before = time.perf_counter() - started
        task = answerer(data)
        trainer = instantiate(configured().trainer, logger=False, enable_checkpointing=False)
        forget(data.store.path)
        started = time.perf_counter()
        trainer.validate(task, data, verbose=False)
        took = time.perf_counter() - started
    model = task.model.seconds
    return {
        "what": f"validation of `updown_hu` on {questions:,} questions, 2 workers: time outside the model",
        "value": f"{1 - model / took:.1%} ({1 - model / (took + before):.1%} with reading their file)",
        "wanted": "10 %",
    }
