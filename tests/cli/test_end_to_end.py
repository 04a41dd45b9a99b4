"""All steps through the commands: on synthetic scenes, and on a few real images."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

import bua
from bua.cli import main
from bua.errors import InputError
from bua.quickstart.stages import Stage, run_stages
from bua.store import FeatureStore
from tests.helpers.commands import run_ok
from tests.helpers.pages import parse_page


@pytest.fixture(scope="module")
def quick(tmp_path_factory) -> Path:
    """Return the folder of a small quickstart."""
    out = tmp_path_factory.mktemp("quick") / "out"
    run_ok("quickstart", f"out={out}", "train=30", "val=6", "test=8", "novel=6", "epochs=1", "num_workers=1")
    return out


@pytest.mark.slow
def test_quickstart_writes_a_self_contained_page(quick) -> None:
    page = parse_page(quick / "report.html")
    assert page.external == []
    assert len(page.words) >= 12
    assert all(0 <= w <= 1 for word in page.words for w in word.values())
    text = " ".join(page.text)
    for name in ("Up-Down", "mean-pooled regions", "question without image", "answer prior", "by chance"):
        assert name in text


@pytest.mark.slow
def test_quickstart_skips_finished_stages(quick, capfd) -> None:
    before = (quick / "scenes" / "regions.h5").stat().st_mtime_ns
    run_ok(
        "quickstart", f"out={quick}", "train=30", "val=6", "test=8", "novel=6", "epochs=1", "num_workers=1"
    )
    assert capfd.readouterr().out.count("already done") == 9
    assert (quick / "scenes" / "regions.h5").stat().st_mtime_ns == before


@pytest.mark.slow
def test_quickstart_rejects_other_options(quick, capfd) -> None:
    assert main(["quickstart", f"out={quick}", "train=31"]) == 2
    assert "was started with train=30, not train=31" in capfd.readouterr().err


@pytest.mark.slow
def test_run_directories_record_their_configuration_and_data(quick) -> None:
    run = quick / "runs" / "vqa_scenes"
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert isinstance(config["model"]["vocabulary_size"], int)
    assert yaml.safe_load((run / "overrides.yaml").read_text())[0] == "experiment=vqa_scenes"
    provenance = json.loads((run / "provenance.json").read_text())
    assert set(provenance["sources"]) == {"features", "train", "train_annotations", "val", "val_annotations"}
    for role, source in provenance["sources"].items():
        hashes = source["columns"].values() if role == "features" else [source["sha256"]]
        assert all(len(digest) == 64 for digest in hashes)
        assert hashes
    assert json.loads((run / "status.json").read_text())["state"] == "done"
    assert (run / "metrics.csv").read_text().startswith("epoch,step,seconds")


@pytest.mark.slow
def test_predict_and_score_reproduce_the_results(quick, tmp_path) -> None:
    results = json.loads((quick / "results.json").read_text())
    scenes = quick / "scenes"
    run_ok(
        "predict",
        f"run={quick}/runs/vqa_scenes",
        f"questions={scenes}/questions_test.json",
        f"out={tmp_path}/a.json",
    )
    run_ok(
        "score",
        "task=vqa",
        f"predictions={tmp_path}/a.json",
        f"questions={scenes}/questions_test.json",
        f"annotations={scenes}/annotations_test.json",
        f"out={tmp_path}/m.json",
    )
    scored = json.loads((tmp_path / "m.json").read_text())
    assert scored["overall"] == results["vqa"]["test"]["Up-Down"]["overall"]
    assert scored["signature"]["rule"] == "official"
    run_ok(
        "predict",
        f"run={quick}/runs/caption_scenes",
        f"images={scenes}/captions_test.json",
        f"out={tmp_path}/p.json",
    )
    run_ok(
        "score",
        "task=caption",
        f"predictions={tmp_path}/p.json",
        f"references={scenes}/captions_test.json",
        "metrics=[bleu,rouge,cider]",
        "tokenizer=python",
        f"out={tmp_path}/m.json",
    )
    scored = json.loads((tmp_path / "m.json").read_text())
    assert scored["images"] == 8
    for name in ("CIDEr", "BLEU-4", "ROUGE-L"):
        assert scored["scores"][name] == pytest.approx(results["captions"]["test"]["Up-Down"][name], abs=1e-9)


@pytest.mark.slow
def test_an_image_can_be_captioned_and_asked_about(quick, tmp_path, capfd) -> None:
    photo = next(iter(sorted((quick / "scenes/images").iterdir())))
    run_ok("caption", f"run={quick}/runs/caption_scenes", f"images={photo}", f"html={tmp_path}/c.html")
    assert photo.name in capfd.readouterr().out
    assert parse_page(tmp_path / "c.html").external == []
    run_ok(
        "ask",
        f"run={quick}/runs/vqa_scenes",
        f"images={photo}",
        'question="Is there a <b>cat</b>, or not?"',
        f"html={tmp_path}/a.html",
    )
    assert "Is there a <b>cat</b>, or not?" in " ".join(parse_page(tmp_path / "a.html").text)
    capfd.readouterr()
    run_ok("ask", f"run={quick}/runs/vqa_scenes", f"images={photo}", "question=what", "json=true")
    answer = json.loads(capfd.readouterr().out)[0]
    assert answer["candidates"][0]["answer"] == answer["answer"]


@pytest.mark.slow
def test_models_can_be_used_from_python(quick) -> None:
    photo = next(iter(sorted((quick / "scenes/images").iterdir())))
    output = bua.load(quick / "runs/caption_scenes").caption(photo)
    assert output.text == " ".join(output.words)
    assert output.attention.shape == (len(output.words), len(output.regions))
    store = FeatureStore(quick / "scenes/regions.h5")
    image_id = int(photo.stem)
    np.testing.assert_allclose(output.regions.boxes, store[image_id].boxes, atol=1e-2)
    assert bua.load(quick / "runs/vqa_scenes").ask(photo, "How many stars are there?").text


def test_a_failed_stage_is_reported_and_the_next_start_continues_with_it(tmp_path, caplog) -> None:
    calls: list[str] = []
    broken = [True]

    def second() -> int:
        calls.append("second")
        if broken[0]:
            raise OSError("disk on fire")
        return 2

    def record(name: str) -> int:
        calls.append(name)
        return 1

    stages = [
        Stage("first", "does one", lambda: record("first")),
        Stage("second", "does two", second),
        Stage("third", "does three", lambda: record("third")),
    ]
    journal = tmp_path / "j.json"
    with pytest.raises(
        InputError, match=r"stage \[2/3\] second failed: disk on fire; bua x continues from there"
    ):
        run_stages(stages, journal, {"a": 1}, "bua x")
    broken[0] = False
    done = run_stages(stages, journal, {"a": 1}, "bua x")
    assert calls == ["first", "second", "second", "third"]
    assert done["stages"]["second"]["result"] == 2
    with pytest.raises(InputError, match="was started with a=1, not a=2; choose another out="):
        run_stages(stages, journal, {"a": 2}, "bua x")


@pytest.mark.slow
def test_a_run_cannot_resume_with_another_schedule_or_model(scenes, tmp_path, capfd) -> None:
    words = ["train", "experiment=caption_scenes", f"scenes={scenes}", f"out={tmp_path}/run"]
    run_ok(*words, "trainer.max_epochs=1")
    for change, message in {
        "trainer.max_epochs=2": "schedule was made for trainer.max_epochs=1; resume with it",
        "model.hidden_size=7": "model.hidden_size differs from that of the run (192, not 7)",
    }.items():
        assert main([*words, "trainer.max_epochs=1", "resume=true", change]) == 2
        assert message in capfd.readouterr().err


@pytest.mark.slow
def test_all_steps_on_real_images(shared, tmp_path, capfd) -> None:
    """Follow the README on a few images of COCO and VQA v2: 8 images, 40 questions."""
    coco, vqa = shared / "data/coco_mini", shared / "data/vqa_v2_mini"
    ids = [image["id"] for image in json.loads((coco / "captions.json").read_text())["images"]][:16]
    (tmp_path / "train.txt").write_text("\n".join(map(str, ids[:8])))
    (tmp_path / "test.txt").write_text("\n".join(map(str, ids[12:])))
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in ids:
        shutil.copy(coco / f"images/{i:012d}.jpg", photos)
    run_ok("extract", f"images={photos}", f"out={tmp_path}/coco.h5")
    assert FeatureStore(tmp_path / "coco.h5").image_ids == sorted(ids)
    run_ok(
        "train",
        "experiment=caption_small",
        f"features={tmp_path}/coco.h5",
        f"captions={coco}/captions.json",
        f"train_ids={tmp_path}/train.txt",
        f"val_ids={tmp_path}/train.txt",
        f"out={tmp_path}/cap",
        "data.vocabulary.min_count=1",
        "model.dropout=0.0",
        "optimizer.lr=5e-3",
        "trainer.max_epochs=90",
        "data.batch_size=4",
        "trainer.check_val_every_n_epoch=90",
    )
    metrics = json.loads((tmp_path / "cap/status.json").read_text())["metrics"]
    assert metrics["val/CIDEr"] > 1.0
    run_ok("predict", f"run={tmp_path}/cap", f"images={tmp_path}/test.txt", f"out={tmp_path}/p.json")
    run_ok(
        "score",
        "task=caption",
        f"predictions={tmp_path}/p.json",
        f"references={coco}/captions.json",
        f"ids={tmp_path}/test.txt",
        "metrics=[bleu,rouge,cider]",
        "tokenizer=python",
        f"out={tmp_path}/m.json",
    )
    assert json.loads((tmp_path / "m.json").read_text())["images"] == 4
    questions = json.loads((vqa / "questions_train.json").read_text())["questions"][:40]
    question_ids = {q["question_id"] for q in questions}
    annotations = json.loads((vqa / "annotations_train.json").read_text())["annotations"]
    (tmp_path / "q.json").write_text(json.dumps({"questions": questions}))
    chosen = [a for a in annotations if a["question_id"] in question_ids]
    (tmp_path / "a.json").write_text(json.dumps({"annotations": chosen}))
    vqa_photos = tmp_path / "vqa"
    vqa_photos.mkdir()
    for i in {q["image_id"] for q in questions}:
        shutil.copy(vqa / f"images/COCO_train2014_{i:012d}.jpg", vqa_photos)
    run_ok("extract", f"images={vqa_photos}", f"out={tmp_path}/vqa.h5")
    run_ok(
        "train",
        "experiment=vqa_small",
        f"features={tmp_path}/vqa.h5",
        f"questions={tmp_path}/q.json",
        f"annotations={tmp_path}/a.json",
        f"val_questions={tmp_path}/q.json",
        f"val_annotations={tmp_path}/a.json",
        f"out={tmp_path}/run",
        "trainer.max_epochs=3",
    )
    run_ok("predict", f"run={tmp_path}/run", f"questions={tmp_path}/q.json", f"out={tmp_path}/pa.json")
    run_ok("score", "task=vqa", f"predictions={tmp_path}/pa.json", f"annotations={tmp_path}/a.json")
    assert "(40 questions)" in capfd.readouterr().out
    run_ok("caption", f"run={tmp_path}/cap", f"images={photos}/{ids[0]:012d}.jpg")
    run_ok("ask", f"run={tmp_path}/run", f"images={photos}/{ids[0]:012d}.jpg", 'question="What is this?"')
