"""``bua quickstart``: the whole way on synthetic scenes, ending in a page."""

import json
import logging
import shlex
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig

from bua.data.captions.files import read_captions
from bua.data.scenes.write import SPLITS, write_scenes
from bua.data.vqa.files.plain_values import read_annotations, read_questions
from bua.detectors.extract import extract
from bua.detectors.photo import read_photo
from bua.detectors.photos import find_photos
from bua.engine.instantiate import instantiate, to_plain
from bua.engine.load import load
from bua.engine.train import train
from bua.errors import InputError
from bua.inference.attention_maps import read_groundings, word_attention
from bua.inference.predictor import Predictor
from bua.io.atomic import write_text
from bua.metrics.caption import caption_scores
from bua.metrics.grounding import grounding
from bua.metrics.vqa import vqa_accuracy
from bua.quickstart.stages import Stage, run_stages
from bua.store.reader import FeatureStore
from bua.visualize.page import AttendedText, Panel, Row, region_names
from bua.visualize.report import quickstart_page

log = logging.getLogger(__name__)

#: Experiment of each model, and what it is called in the tables; attention comes first.
CAPTIONERS = {"caption_scenes": "Up-Down", "caption_scenes_mean": "mean-pooled regions"}
ANSWERERS = {
    "vqa_scenes": "Up-Down",
    "vqa_scenes_mean": "mean-pooled regions",
    "vqa_scenes_blind": "question without image",
}
PRIOR = "answer prior"


def main(config: Any) -> None:
    """Run every stage that is not done yet."""
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    options = {k: v for k, v in to_plain(config).items() if k not in ("out", "workers")}
    if not config.train or not config.val or not config.test:
        raise InputError("train, val and test must each be at least 1 picture")
    command = " ".join(["bua quickstart", *map(shlex.quote, HydraConfig.get().overrides.task)])
    way = Quickstart(out, options, workers=config.workers, command=command)
    done = run_stages(way.stages(), out / "quickstart.json", options, command)
    numbers = done["stages"]["scores"]["result"]
    log.info("")
    for split, rows in numbers["captions"].items():
        for name, row in rows.items():
            log.info(f"captions  {split:6} {name:24} CIDEr {row['CIDEr']:.3f}{_grounded(row)}")
    for split, rows in numbers["vqa"].items():
        for name, row in rows.items():
            log.info(f"answers   {split:6} {name:24} accuracy {row['overall']:.2f} %")
    seconds = sum(stage["seconds"] for stage in done["stages"].values())
    log.info(f"{out / 'report.html'}: open it in a browser ({seconds / 60:.1f} minutes in all)")


def _grounded(row: dict[str, Any]) -> str:
    if row["grounded"] is None:
        return ""
    return f", words looking at what they name {row['grounded']:.3f} (by chance {row['chance']:.3f})"


@dataclass(frozen=True)
class Quickstart:
    """The stages and the folder they share."""

    out: Path
    options: dict[str, Any]
    workers: int
    command: str

    @property
    def scenes(self) -> Path:
        """Folder of the data set."""
        return self.out / "scenes"

    @property
    def features(self) -> Path:
        """Feature store of all its pictures."""
        return self.scenes / "regions.h5"

    def stages(self) -> list[Stage]:
        """Return what is to be done, in order."""
        models = {**CAPTIONERS, **ANSWERERS}
        what = {
            "caption_scenes": "trains a captioner that attends to regions",
            "caption_scenes_mean": "trains the same without attention, to compare",
            "vqa_scenes": "trains a model that answers questions by attending to regions",
            "vqa_scenes_mean": "trains the same without attention, to compare",
            "vqa_scenes_blind": "trains the same without the picture, to compare",
        }
        training = [Stage(name, what[name], lambda name=name: self.train(name)) for name in models]  # type: ignore[misc]
        return [
            Stage("scenes", "draws pictures and writes captions, questions and boxes", self.draw),
            Stage("regions", "finds regions with the detector that ships with bua", self.extract),
            *training,
            Stage("scores", "describes and answers the test pictures and scores it all", self.score),
            Stage("report", "writes the page", self.report),
        ]

    def draw(self) -> dict[str, int]:
        """Write the data set."""
        counts = {split: self.options[split] for split in SPLITS}
        write_scenes(
            self.scenes,
            seed=self.options["seed"],
            counts=counts,
            questions=self.options["questions_each"],
            workers=self.workers,
            report=lambda line: log.info(f"  {line}"),
        )
        return counts

    def extract(self) -> dict[str, float]:
        """Extract regions of all pictures."""
        config = compose("extract", ["images=-", "out=-", "device=cpu"])
        photos = find_photos(self.scenes / "images")
        done = extract(
            photos,
            instantiate(config.detector),
            self.features,
            batch_size=config.batch_size,
            shard_size=500,
            workers=1,
            dtype=config.dtype,
            max_errors=0,
        )
        log.info(f"  {done.images} pictures, {done.regions / done.images:.1f} regions each")
        return {"images": done.images, "regions": done.regions}

    def train(self, experiment: str) -> dict[str, float]:
        """Train one model, or go on with it."""
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
        return train(compose("train", overrides), run, overrides)

    def trained(self, experiment: str) -> Predictor:
        """Load a model that an earlier stage trained."""
        return load(self.out / "runs" / experiment)

    def score(self) -> dict[str, Any]:
        """Predict and score the splits that were not trained on."""
        store = FeatureStore(self.features)
        splits = [split for split in ("test", "novel") if self.options[split]]
        captioners = {name: self.trained(name) for name in CAPTIONERS}
        answerers = {name: self.trained(name) for name in ANSWERERS}
        result: dict[str, Any] = {"captions": {}, "vqa": {}}
        for split in splits:
            result["captions"][split] = {
                CAPTIONERS[name]: self._score_captions(model, store, split, grounded=name == "caption_scenes")
                for name, model in captioners.items()
            }
            result["vqa"][split] = {
                ANSWERERS[name]: self._score_answers(model, store, split) for name, model in answerers.items()
            }
            result["vqa"][split][PRIOR] = self._score_prior(split)
        return result

    def _score_captions(
        self, model: Predictor, store: FeatureStore, split: str, *, grounded: bool
    ) -> dict[str, Any]:
        file = read_captions(self.scenes / f"captions_{split}.json")
        ids = list(file.captions)
        said: dict[Any, str] = {}
        for start in range(0, len(ids), 100):
            part = ids[start : start + 100]
            texts = [found[0].text for found in model.caption_store(store, part)]
            said |= dict(zip(part, texts, strict=True))
        results = [{"image_id": i, "caption": text} for i, text in said.items()]
        self._save(f"captions_{split}_{_slug(model)}", results)
        scores = caption_scores(said, file.captions, metrics=("bleu", "rouge", "cider"), tokenizer="python")
        found = None
        if grounded:
            named = read_groundings(self.scenes / f"groundings_{split}.json")
            found = grounding(word_attention(model, store, file, named))
        return {
            **scores,
            "grounded": found.share if found else None,
            "chance": found.chance if found else None,
        }

    def _score_answers(self, model: Predictor, store: FeatureStore, split: str) -> dict[str, Any]:
        questions = read_questions(self.scenes / f"questions_{split}.json")
        said: dict[Any, str] = {}
        for start in range(0, len(questions), 500):
            part = questions[start : start + 500]
            found = model.answer_store(store, [q.image_id for q in part], [q.text for q in part])
            said |= {q.question_id: one.text for q, one in zip(part, found, strict=True)}
        results = [{"question_id": i, "answer": text} for i, text in said.items()]
        self._save(f"answers_{split}_{_slug(model)}", results)
        return vqa_accuracy(said, read_annotations(self.scenes / f"annotations_{split}.json"))

    def _score_prior(self, split: str) -> dict[str, Any]:
        """Give the answer that is most frequent in training to every question."""
        given = read_annotations(self.scenes / "annotations_train.json").values()
        answer = Counter(asked.most_frequent for asked in given).most_common(1)[0][0]
        asked = read_annotations(self.scenes / f"annotations_{split}.json")
        return vqa_accuracy(dict.fromkeys(asked, answer), asked)

    def _save(self, name: str, results: list[dict[str, Any]]) -> None:
        folder = self.out / "predictions"
        folder.mkdir(exist_ok=True)
        write_text(folder / f"{name}.json", json.dumps(results))

    def report(self) -> str:
        """Write ``results.json`` and the page."""
        done = json.loads((self.out / "quickstart.json").read_text())
        results = {
            "data": {
                "pictures": sum(done["stages"]["scenes"]["result"].values()),
                **done["stages"]["regions"]["result"],
            },
            "options": self.options,
            **done["stages"]["scores"]["result"],
            "stages": [
                {"name": name, "seconds": stage["seconds"], "what": stage["what"]}
                for name, stage in done["stages"].items()
            ],
        }
        write_text(self.out / "results.json", json.dumps(results, indent=1))
        path = self.out / "report.html"
        write_text(path, quickstart_page(results, self.exhibits(), self.command))
        return str(path)

    def exhibits(self, count: int = 12) -> list[Panel]:
        """Return pictures of the test splits with captions and questions."""
        captioner, answerer = self.trained("caption_scenes"), self.trained("vqa_scenes")
        store = FeatureStore(self.features)
        splits = [split for split in ("test", "novel") if self.options[split]]
        shown = []
        for split in splits:
            asked = read_questions(self.scenes / f"questions_{split}.json")
            answers = read_annotations(self.scenes / f"annotations_{split}.json")
            ids = list(dict.fromkeys(q.image_id for q in asked))[: count // len(splits)]
            for image_id in ids:
                questions = [q for q in asked if q.image_id == image_id][:4]
                regions = store[image_id]
                said = captioner.caption(regions)
                pieces = [AttendedText(w, a) for w, a in zip(said.words, said.weights, strict=True)]
                lines = [Row("caption", pieces)]
                for question in questions:
                    answer = answerer.ask(regions, question.text)
                    truth = answers[question.question_id].most_frequent
                    remark = f"→ {answer.text}" + ("" if answer.text == truth else f" (annotators: {truth})")
                    lines.append(Row("question", [AttendedText(question.text, answer.weights)], remark))
                metadata = store.metadata
                names = region_names(regions, metadata.class_names, metadata.attribute_names)
                title = f"{split} {image_id}"
                shown.append(Panel(title, self._photo(int(image_id)), regions, names, lines))
        return shown

    def _photo(self, image_id: int) -> Any:
        return read_photo(self.scenes / "images" / f"{image_id:012d}.jpg")


def _slug(model: Predictor) -> str:
    return Path(model.source).name


def _quoted(path: Path) -> str:
    """Quote a path for Hydra's override grammar."""
    return "'" + str(path).replace("\\", "\\\\").replace("'", "\\'") + "'"
