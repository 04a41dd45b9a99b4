"""The whole pipeline on synthetic scenes: images, regions, models, scores, and a report."""

import json
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bua.data.captions.files import read_captions
from bua.data.scenes.write import SPLITS, write_scenes
from bua.data.vqa.files import read_annotations, read_questions
from bua.detectors.extract import ExtractionOptions, extract
from bua.detectors.photo import read_photo
from bua.detectors.photo_files import find_photos
from bua.engine import load, train
from bua.engine.instantiate import instantiate
from bua.inference.attention_maps import read_groundings, word_attention
from bua.inference.captioning import CaptionPredictor
from bua.inference.vqa import VQAPredictor
from bua.io.write import write_text
from bua.metrics.caption import caption_scores
from bua.metrics.grounding import grounding
from bua.metrics.vqa import vqa_accuracy
from bua.quickstart.stages import Stage, run_stages
from bua.store.reader import FeatureStore
from bua.structures.annotations import ImageId, Question
from bua.visualize.page import AttendedText, Panel, Row, region_names
from bua.visualize.report import quickstart_page

log = logging.getLogger(__name__)

#: Names of the models in the tables, by experiment; models with attention come first.
CAPTIONERS = {"caption_scenes": "Up-Down", "caption_scenes_mean": "mean-pooled regions"}
VQA_MODELS = {
    "vqa_scenes": "Up-Down",
    "vqa_scenes_mean": "mean-pooled regions",
    "vqa_scenes_blind": "question without image",
}
PRIOR = "answer prior"
#: Descriptions of the training stages, for the log.
TRAINING = {
    "caption_scenes": "train a captioner that attends to regions",
    "caption_scenes_mean": "train the same captioner without attention, for comparison",
    "vqa_scenes": "train a VQA model that attends to regions",
    "vqa_scenes_mean": "train the same VQA model without attention, for comparison",
    "vqa_scenes_blind": "train the same VQA model without the image, for comparison",
}
#: Numbers of images and of questions in a batch of predictions.
CAPTION_BATCH, QUESTION_BATCH = 100, 500
#: Number of images in the report, and of questions about each.
PANELS, QUESTIONS = 12, 4


@dataclass(frozen=True)
class Quickstart:
    """The stages of the quickstart and their directory.

    Attributes:
        out: Directory of all results.
        options: Options that the results depend on: seed, numbers of images, epochs.
        num_workers: Number of processes that draw images.
        command: Command line, for messages and the report.
        compose: Function that composes a configuration from its name and overrides, such as
            ``hydra.compose``.
    """

    out: Path
    options: Mapping[str, Any]
    num_workers: int
    command: str
    compose: Callable[[str, list[str]], Any]

    @property
    def scenes(self) -> Path:
        """Directory of the data set."""
        return self.out / "scenes"

    @property
    def features(self) -> Path:
        """Path of the feature store of all images."""
        return self.scenes / "regions.h5"

    @property
    def test_splits(self) -> list[str]:
        """Splits for evaluation that have images."""
        return [split for split in ("test", "novel") if self.options[split]]

    def run(self) -> dict[str, Any]:
        """Run every stage that is not done yet, and return the journal."""
        self.out.mkdir(parents=True, exist_ok=True)
        training = [
            Stage(name, what, lambda name=name: self.train(name))  # type: ignore[misc]
            for name, what in TRAINING.items()
        ]
        stages = [
            Stage("scenes", "draw images and write captions, questions and boxes", self.draw),
            Stage("regions", "extract regions with the detector that ships with bua", self.extract),
            *training,
            Stage("scores", "caption the test images, answer their questions, and score both", self.score),
            Stage("report", "write the report", self.report),
        ]
        return run_stages(stages, self.out / "quickstart.json", self.options, self.command)

    def draw(self) -> dict[str, int]:
        """Write the data set."""
        counts = {split: self.options[split] for split in SPLITS}
        write_scenes(
            self.scenes,
            seed=self.options["seed"],
            counts=counts,
            questions=self.options["questions_per_image"],
            num_workers=self.num_workers,
            report=lambda line: log.info(f"  {line}"),
        )
        return counts

    def extract(self) -> dict[str, float]:
        """Extract regions of all images."""
        config = self.compose("extract", ["images=-", "out=-", "device=cpu"])
        options = ExtractionOptions(
            batch_size=config.batch_size, shard_size=500, num_workers=1, dtype=config.dtype, max_errors=0
        )
        photos = find_photos(self.scenes / "images")
        result = extract(photos, instantiate(config.detector), self.features, options)
        log.info(f"  {result.num_images} images, {result.num_regions / result.num_images:.1f} regions each")
        return {"images": result.num_images, "regions": result.num_regions}

    def train(self, experiment: str) -> dict[str, float]:
        """Train one model, or resume its training."""
        run = self.out / "runs" / experiment
        resume = (run / "checkpoints" / "last.ckpt").exists()
        if run.exists() and not resume:
            shutil.rmtree(run)
        overrides = [
            f"experiment={experiment}",
            f"scenes={_quoted(self.scenes)}",
            f"features={_quoted(self.features)}",
            f"out={_quoted(run)}",
            f"seed={self.options['seed']}",
            f"resume={str(resume).lower()}",
        ]
        if self.options["epochs"] is not None:
            overrides.append(f"trainer.max_epochs={self.options['epochs']}")
        return train(self.compose("train", overrides), overrides)

    def captioner(self, experiment: str) -> CaptionPredictor:
        """Load a captioner that an earlier stage trained."""
        predictor = load(self.out / "runs" / experiment)
        assert isinstance(predictor, CaptionPredictor)
        return predictor

    def vqa_model(self, experiment: str) -> VQAPredictor:
        """Load a VQA model that an earlier stage trained."""
        predictor = load(self.out / "runs" / experiment)
        assert isinstance(predictor, VQAPredictor)
        return predictor

    def score(self) -> dict[str, Any]:
        """Predict and score the splits for evaluation."""
        store = FeatureStore(self.features)
        captioners = {name: self.captioner(name) for name in CAPTIONERS}
        vqa_models = {name: self.vqa_model(name) for name in VQA_MODELS}
        result: dict[str, Any] = {"captions": {}, "vqa": {}}
        for split in self.test_splits:
            result["captions"][split] = {
                CAPTIONERS[name]: self._score_captions(name, model, store, split)
                for name, model in captioners.items()
            }
            result["vqa"][split] = {
                VQA_MODELS[name]: self._score_answers(name, model, store, split)
                for name, model in vqa_models.items()
            }
            result["vqa"][split][PRIOR] = self._score_prior(split)
        return result

    def _score_captions(
        self, name: str, model: CaptionPredictor, store: FeatureStore, split: str
    ) -> dict[str, Any]:
        file = read_captions(self.scenes / f"captions_{split}.json")
        captions: dict[ImageId, str] = {}
        for ids in _batches(list(file.captions), CAPTION_BATCH):
            found = model.caption_batch(model.region_input.load(store, ids))
            captions |= {i: candidates[0].text for i, candidates in zip(ids, found, strict=True)}
        self._save(f"captions_{split}_{name}", "image_id", "caption", captions)
        metrics = ("bleu", "rouge", "cider")
        scores = caption_scores(captions, file.captions, metrics=metrics, tokenizer="python")
        attended = None
        if name == next(iter(CAPTIONERS)):
            named = read_groundings(self.scenes / f"groundings_{split}.json")
            attended = grounding(word_attention(model, store, file, named))
        return {
            **scores,
            "grounded": attended.iou_accuracy if attended else None,
            "chance": attended.iou_chance if attended else None,
        }

    def _score_answers(
        self, name: str, model: VQAPredictor, store: FeatureStore, split: str
    ) -> dict[str, Any]:
        answers: dict[Any, str] = {}
        for batch in _batches(read_questions(self.scenes / f"questions_{split}.json"), QUESTION_BATCH):
            regions = model.region_input.load(store, [question.image_id for question in batch])
            found = model.answer_batch(regions, [question.text for question in batch])
            answers |= {q.question_id: answer.text for q, answer in zip(batch, found, strict=True)}
        self._save(f"answers_{split}_{name}", "question_id", "answer", answers)
        return vqa_accuracy(answers, read_annotations(self.scenes / f"annotations_{split}.json"))

    def _score_prior(self, split: str) -> dict[str, Any]:
        """Score the most frequent answer of the training data as the answer to every question."""
        trained = read_annotations(self.scenes / "annotations_train.json").values()
        answer = Counter(annotation.most_frequent for annotation in trained).most_common(1)[0][0]
        annotations = read_annotations(self.scenes / f"annotations_{split}.json")
        return vqa_accuracy(dict.fromkeys(annotations, answer), annotations)

    def _save(self, name: str, key: str, value: str, predictions: Mapping[Any, str]) -> None:
        folder = self.out / "predictions"
        folder.mkdir(exist_ok=True)
        records = [{key: i, value: text} for i, text in predictions.items()]
        write_text(folder / f"{name}.json", json.dumps(records))

    def report(self) -> str:
        """Write ``results.json`` and the report."""
        done = json.loads((self.out / "quickstart.json").read_text())
        results = {
            "data": done["stages"]["regions"]["result"],
            "options": dict(self.options),
            **done["stages"]["scores"]["result"],
            "stages": [
                {"name": name, "seconds": stage["seconds"], "what": stage["what"]}
                for name, stage in done["stages"].items()
            ],
        }
        write_text(self.out / "results.json", json.dumps(results, indent=1))
        path = self.out / "report.html"
        write_text(path, quickstart_page(results, list(self.panels()), self.command))
        return str(path)

    def panels(self) -> Iterator[Panel]:
        """Yield test images with their captions, questions and answers."""
        captioner, vqa_model = self.captioner("caption_scenes"), self.vqa_model("vqa_scenes")
        store = FeatureStore(self.features)
        for split in self.test_splits:
            questions = read_questions(self.scenes / f"questions_{split}.json")
            annotations = read_annotations(self.scenes / f"annotations_{split}.json")
            image_ids = list(dict.fromkeys(question.image_id for question in questions))
            for image_id in image_ids[: PANELS // len(self.test_splits)]:
                regions = store[image_id]
                caption = captioner.caption(regions)
                words = zip(caption.words, caption.attention, strict=True)
                rows = [Row("caption", [AttendedText(word, weights) for word, weights in words])]
                for question in [q for q in questions if q.image_id == image_id][:QUESTIONS]:
                    rows.append(_question_row(vqa_model, regions, question, annotations))
                metadata = store.metadata
                names = region_names(regions, metadata.class_names, metadata.attribute_names)
                photo = read_photo(self.scenes / "images" / f"{int(image_id):012d}.jpg")
                yield Panel(f"{split} {image_id}", photo, regions, names, rows)


def _question_row(
    model: VQAPredictor, regions: Any, question: Question, annotations: Mapping[Any, Any]
) -> Row:
    output = model.ask(regions, question.text)
    truth = annotations[question.question_id].most_frequent
    remark = f"→ {output.text}" + ("" if output.text == truth else f" (annotators: {truth})")
    return Row("question", [AttendedText(question.text, output.attention)], remark)


def describe_results(done: Mapping[str, Any], out: Path) -> Iterator[str]:
    """Yield lines about the scores and the report, from the journal of a quickstart."""
    scores = done["stages"]["scores"]["result"]
    yield ""
    for split, rows in scores["captions"].items():
        for name, row in rows.items():
            attended = ""
            if row["grounded"] is not None:
                attended = f", words that attend to what they name {row['grounded']:.3f}"
                attended += f" (by chance {row['chance']:.3f})"
            yield f"captions  {split:6} {name:24} CIDEr {row['CIDEr']:.3f}{attended}"
    for split, rows in scores["vqa"].items():
        for name, row in rows.items():
            yield f"answers   {split:6} {name:24} accuracy {row['overall']:.2f} %"
    seconds = sum(stage["seconds"] for stage in done["stages"].values())
    yield f"{out / 'report.html'}: open it in a browser ({seconds / 60:.1f} minutes in all)"


def _batches(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _quoted(path: Path) -> str:
    """Quote a path for Hydra's override grammar."""
    return "'" + str(path).replace("\\", "\\\\").replace("'", "\\'") + "'"
