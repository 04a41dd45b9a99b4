"""Fill the tables of the READMEs from the result files beside them.

python experiments/readme.py          write them
python experiments/readme.py --check  exit with 1 if one is not what its results say
"""

import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
Results = dict[str, Any]


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def share(value: float | None) -> str:
    """Return a share as a percentage; nothing where it was not measured."""
    return "" if value is None else f"{100 * value:.1f} %"


def quickstart(results: Results) -> str:
    """Return the tables of the quickstart, test and novel side by side."""
    captions, vqa = results["captions"], results["vqa"]
    caption_rows = [
        [
            name,
            *(f"{captions[s][name]['CIDEr']:.3f}" for s in captions),
            *(share(captions[s][name]["grounded"]) for s in captions),
            *(share(captions[s][name]["chance"]) for s in captions),
        ]
        for name in captions["test"]
    ]
    vqa_rows = [
        [name, *(f"{vqa[s][name]['overall']:.2f}" for s in vqa)]
        + [f"{vqa['test'][name]['per_answer_type'][kind]:.2f}" for kind in ("yes/no", "number", "other")]
        for name in vqa["test"]
    ]
    minutes = sum(stage["seconds"] for stage in results["stages"]) / 60
    return "\n\n".join(
        [
            f"`bua quickstart` drew {results['data']['pictures']:,} pictures and took {minutes:.1f} minutes "
            "on two cores. *Novel* pictures show combinations of kind and colour that training never did.",
            markdown(
                [
                    "captions",
                    "CIDEr",
                    "CIDEr, novel",
                    "words looking at what they name",
                    "the same, novel",
                    "by chance",
                    "by chance, novel",
                ],
                caption_rows,
            ),
            markdown(["answers, VQA accuracy", "overall", "novel", "yes/no", "number", "other"], vqa_rows),
            "A word that names a thing looks at it if the region of its largest weight overlaps the thing "
            "with IoU 0.5 or more.",
        ]
    )


def real(results: Results) -> str:
    """Return what the small experiments gave on real files."""
    rows = [
        ["captions of the 100 training photographs", "CIDEr", f"{results['train_captions']['CIDEr']:.3f}"],
        ["captions of the 44 others", "CIDEr", f"{results['test_captions']['CIDEr']:.3f}"],
        ["", "BLEU-4", f"{results['test_captions']['BLEU-4']:.3f}"],
        ["", "METEOR", f"{results['test_captions']['METEOR']:.3f}"],
        ["answers to the 200 others", "VQA accuracy", f"{results['vqa']['overall']:.2f}"],
        ["always the most frequent answer", "VQA accuracy", f"{results['vqa_prior']['overall']:.2f}"],
    ]
    return markdown(["what", "metric", "measured"], rows)


def speed(results: Results) -> str:
    """Return every measurement with its command's name."""
    rows = [[r["what"], r["value"], r["wanted"]] for r in results["measurements"]]
    return markdown(["what", "measured", "wanted"], rows) + f"\n\nOn {results['machine']}."


#: What the objectives and models of the studies are called in their tables.
OBJECTIVES = {
    "cross_entropy": "cross-entropy",
    "self_critical": "then rewards",
    "longer": "cross-entropy as long",
}
CAPTIONERS = {
    "updown": "Up-Down",
    "updown_caffe": "Up-Down (Caffe)",
    "att2in": "Att2in",
    "soft_attention": "soft attention",
    "transformer": "Transformer",
    "mean_pooled": "mean-pooled",
}
ANSWERERS = {
    "updown_hu": "Up-Down (Hu)",
    "updown_hu_counter": "Up-Down (Hu), counting",
    "updown_teney": "Up-Down (Teney)",
    "ban": "BAN",
    "mcan": "MCAN",
    "mean_pooled": "mean-pooled",
    "question_only": "question only",
}


def over_seeds(
    runs: list[Results], seeds: int, path: tuple[str | int, ...], digits: int, scale: float = 1
) -> str:
    """Return mean and standard deviation of a number, nothing until every seed is measured."""
    if len(runs) < seeds:
        return ""
    values = []
    for run in runs:
        value: Any = run
        for key in path:
            value = value[key] if isinstance(value, list) else value.get(key) if value is not None else None
        if value is None:  # as SPICE where its models are not
            return ""
        values.append(value * scale)
    return f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"


def changes(before: list[Results], after: list[Results], seeds: int, split: str) -> str:
    """Return what CIDEr gained from run to run of the same seed; nothing until all are there."""
    began = {run["seed"]: run[split]["CIDEr"] for run in before}
    gained = [run[split]["CIDEr"] - began[run["seed"]] for run in after if run["seed"] in began]
    if len(gained) < seeds:
        return ""
    return f"{statistics.mean(gained):+.3f} ± {statistics.stdev(gained):.3f}"


def minutes(results: Results) -> str:
    """Say how long all trainings of a study took."""
    if not results["runs"]:
        return "No training is finished yet"
    total = sum(run["minutes"] for run in results["runs"])
    said = f"{len(results['runs'])} trainings took {total:.0f} minutes, one thread each"
    if results.get("minutes"):
        return f"{said}; the whole study, {results['jobs']} at a time, {results['minutes']:.0f} minutes"
    return f"{said}, on a machine with other work"


def grouped(results: Results, *keys: str) -> dict[tuple[Any, ...], list[Results]]:
    """Return the runs of a study that differ in nothing but their seed."""
    runs: dict[tuple[Any, ...], list[Results]] = {}
    for run in results["runs"]:
        runs.setdefault(tuple(run[key] for key in keys), []).append(run)
    return runs


def cider_tables(results: Results) -> list[str]:
    """Return CIDEr of the captioning study, what rewards gained, and how they grew."""
    runs, seeds = grouped(results, "model", "features", "objective"), results["seeds"]
    pairs = list(dict.fromkeys((model, features) for model, features, _ in runs))
    tables = []
    for split, what in (("test", "CIDEr, test"), ("novel", "CIDEr, novel combinations")):
        rows = [
            [CAPTIONERS[pair[0]], pair[1]]
            + [over_seeds(runs.get((*pair, how), []), seeds, (split, "CIDEr"), 3) for how in OBJECTIVES]
            for pair in pairs
        ]
        tables.append(markdown([what, "sees", *OBJECTIVES.values()], rows))
    compared = {"then rewards": "self_critical", "cross-entropy as long": "longer"}
    rows = [
        [CAPTIONERS[pair[0]], pair[1]]
        + [
            changes(runs.get((*pair, "cross_entropy"), []), runs.get((*pair, how), []), seeds, split)
            for how in compared.values()
            for split in ("test", "novel")
        ]
        for pair in pairs
    ]
    named = [f"{what}, {split}" for what in compared for split in ("test", "novel")]
    tables.append(markdown(["CIDEr, gained on cross-entropy by the same seed", "sees", *named], rows))
    rows = [
        [CAPTIONERS[pair[0]], pair[1]]
        + [over_seeds(runs.get((*pair, "self_critical"), []), seeds, ("drawn", n), 3) for n in (0, 1)]
        for pair in pairs
    ]
    tables.append(markdown(["mean reward of captions drawn", "sees", "first epoch", "last epoch"], rows))
    return tables


def captioning_more(results: Results) -> str:
    """Return what the captioning study gave with more pictures."""
    head = (
        f"`{results['command']}`: {results['pictures']['train']:,} pictures to train on. {minutes(results)}."
    )
    return "\n\n".join([head, *cider_tables(results)])


def captioning(results: Results) -> str:
    """Return the tables of the captioning study."""
    runs, seeds = grouped(results, "model", "features", "objective"), results["seeds"]
    pairs = list(dict.fromkeys((model, features) for model, features, _ in runs))
    tables = cider_tables(results)
    measures = {
        "SPICE": "SPICE",
        "bad_endings": "bad endings",
        "repeated": "three words said twice",
        **LOOKED,
    }
    rows = [
        [CAPTIONERS[pair[0]], pair[1], OBJECTIVES[how]]
        + [over_seeds(runs.get((*pair, how), []), seeds, ("test", m), 1, 100) for m in measures]
        for pair in pairs
        for how in ("cross_entropy", "self_critical")
    ]
    tables.append(markdown(["test, %", "sees", "trained by", *measures.values()], rows))
    head = (
        f"{results['pictures']['train']:,} pictures to train on, {results['pictures']['test']} and "
        f"{results['pictures']['novel']} to describe; mean and standard deviation of {seeds} "
        f"seeds; a cell is empty until all of them are there. {minutes(results)}."
    )
    return "\n\n".join([head, *tables])


#: Measures of grounding.
LOOKED = {
    "share": "looks at what is named",
    "chance": "by chance",
    "pointed": "points at it",
    "pointed_chance": "by chance",
    "mass": "weight on it",
}


def vqa(results: Results) -> str:
    """Return the tables of the VQA study."""
    runs, seeds = grouped(results, "model", "features", "epochs"), results["seeds"]
    short = min((epochs for _, _, epochs in runs), default=None)
    types, splits = ("yes/no", "number", "other"), {"test": "test", "novel": "novel combinations"}
    tables = []
    for split, what in splits.items():
        rows = [
            [_answerer(model, epochs, short), "nothing" if model == "question_only" else sees]
            + [f"{some[0]['parameters'] / 1e6:.2f} M"]
            + [over_seeds(some, seeds, (split, kind), 2) for kind in ("overall", *types)]
            for (model, sees, epochs), some in runs.items()
        ]
        tables.append(markdown([f"VQA accuracy, {what}", "sees", "parameters", "overall", *types], rows))
    points = [f"points, {kind}" for kind in types]
    for split, what in splits.items():
        rows = [
            [_answerer(model, epochs, short), sees]
            + [over_seeds(some, seeds, (split, "grounding", "overall", m), 1, 100) for m in LOOKED]
            + [over_seeds(some, seeds, (split, "grounding", kind, "pointed"), 1, 100) for kind in types]
            for (model, sees, epochs), some in runs.items()
            if model not in ("mean_pooled", "question_only")
        ]
        tables.append(markdown([f"attention, {what}, %", "sees", *LOOKED.values(), *points], rows))
    head = (
        f"{results['pictures']['train']:,} pictures with six questions each to train on, "
        f"{results['pictures']['test']} and {results['pictures']['novel']} to answer questions about; mean "
        f"and standard deviation of {seeds} seeds; a cell is empty until all of them are there. "
        f"{minutes(results)}."
    )
    return "\n\n".join([head, *tables])


def _answerer(model: str, epochs: Any, short: Any) -> str:
    return ANSWERERS[model] + (f", {epochs} epochs" if epochs != short else "")


def rates(results: Results) -> str:
    """Return the table of the rates that were tried for a study."""
    digits = 2 if results["metric"] == "val/accuracy" else 3
    names = CAPTIONERS | ANSWERERS
    rows = [[names[one["model"]], f"{one['rate']:g}", f"{one['val']:.{digits}f}"] for one in results["tried"]]
    what = {"val/accuracy": "accuracy", "val/CIDEr": "CIDEr"}[results["metric"]]
    head = f"Best {what} on val of {results['epochs']} epochs on regions, with seed {results['seed']}."
    return "\n\n".join([head, markdown(["rates tried", "rate", "val"], rows)])


#: Marker in a README -> file with the results, and what makes the text from them.
TABLES: dict[str, tuple[str, Callable[[Results], str]]] = {
    "quickstart": ("experiments/quickstart/results.json", quickstart),
    "real": ("experiments/real/results.json", real),
    "captioning": ("experiments/captioning/results.json", captioning),
    "captioning-more": ("experiments/captioning/more.json", captioning_more),
    "vqa": ("experiments/vqa/results.json", vqa),
    "vqa-rates": ("experiments/vqa/rates.json", rates),
    "captioning-rates": ("experiments/captioning/rates.json", rates),
    "speed": ("experiments/speed/results.json", speed),
    "speed-gpu": ("experiments/speed/results_gpu.json", speed),
}
READMES = ["README.md", *dict.fromkeys(f"{Path(file).parent}/README.md" for file, _ in TABLES.values())]


def filled(text: str) -> str:
    """Return a README with the text between each pair of markers made anew."""
    for name, (source, make) in TABLES.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        if begin in text:
            before, rest = text.split(begin, 1)
            _, after = rest.split(end, 1)
            made = make(json.loads((ROOT / source).read_text()))
            text = f"{before}{begin}\n{made}\n\n{end}{after}"
    return text


def main() -> int:
    """Write or check every README."""
    stale = []
    for name in READMES:
        path = ROOT / name
        wanted = filled(path.read_text())
        if wanted != path.read_text():
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(wanted)
    print("\n".join(f"{name}: {'stale' if '--check' in sys.argv else 'written'}" for name in stale))
    return int(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
