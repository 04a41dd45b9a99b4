"""Run the commands of the README on real images: python experiments/real/run.py DATA OUT."""

import json
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

from bua.data.vqa.files import read_annotations
from bua.metrics.vqa import vqa_accuracy

COMMANDS = """
extract images={coco}/captions.json out={out}/coco.h5
extract images={vqa}/images out={out}/vqa.h5
train experiment=caption_small features={out}/coco.h5 captions={coco}/captions.json \
train_ids={out}/train.txt val_ids={out}/train.txt out={out}/captioner
predict run={out}/captioner images={out}/train.txt out={out}/captions_train.json
predict run={out}/captioner images={out}/test.txt out={out}/captions_test.json
score task=caption predictions={out}/captions_train.json references={coco}/captions.json out={out}/train.json
score task=caption predictions={out}/captions_test.json references={coco}/captions.json out={out}/test.json
train experiment=vqa_small features={out}/vqa.h5 questions={vqa}/questions_train.json \
annotations={vqa}/annotations_train.json val_questions={vqa}/questions_val.json \
val_annotations={vqa}/annotations_val.json out={out}/vqa
predict run={out}/vqa out={out}/answers.json
score task=vqa predictions={out}/answers.json questions={vqa}/questions_val.json \
annotations={vqa}/annotations_val.json out={out}/vqa.json
caption run={out}/captioner images={coco}/images/000000000790.jpg html={out}/caption.html
ask run={out}/vqa images={coco}/images/000000000790.jpg "question=what is this?" html={out}/answer.html
"""


def main(data: Path, out: Path) -> None:
    """Run every command and write ``results.json`` to this folder."""
    coco, vqa = data / "coco_mini", data / "vqa_v2_mini"
    out.mkdir(parents=True, exist_ok=True)
    ids = [image["id"] for image in json.loads((coco / "captions.json").read_text())["images"]]
    (out / "train.txt").write_text("\n".join(map(str, ids[:100])))
    (out / "test.txt").write_text("\n".join(map(str, ids[100:])))
    for line in COMMANDS.replace("\\\n", "").strip().splitlines():
        words = shlex.split(line.format(coco=coco, vqa=vqa, out=out))
        print("bua", *words, flush=True)
        subprocess.run([sys.executable, "-m", "bua", *words], check=True)
    train_annotations = read_annotations(vqa / "annotations_train.json").values()
    answer = Counter(one.most_frequent for one in train_annotations).most_common(1)[0][0]
    val_annotations = read_annotations(vqa / "annotations_val.json")
    results = {
        "train_captions": json.loads((out / "train.json").read_text())["scores"],
        "test_captions": json.loads((out / "test.json").read_text())["scores"],
        "vqa": json.loads((out / "vqa.json").read_text()),
        "vqa_prior": vqa_accuracy(dict.fromkeys(val_annotations, answer), val_annotations),
    }
    if results["train_captions"]["CIDEr"] <= 1.0:
        raise SystemExit(f"the training captions are not reproduced: {results['train_captions']}")
    (Path(__file__).parent / "results.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
