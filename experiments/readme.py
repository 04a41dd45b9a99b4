"""Write the tables of the READMEs from the result files.

python experiments/readme.py          writes the tables
python experiments/readme.py --check  exits with 1 if a table differs from its results
"""

import json
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
Results = dict[str, Any]

#: Names of objectives, models and scores in the tables of the studies.
OBJECTIVES = {
    "cross_entropy": "cross-entropy",
    "self_critical": "+ self-critical",
    "longer": "longer cross-entropy",
}
CAPTIONERS = {
    "updown": "Up-Down",
    "updown_caffe": "Up-Down (Caffe)",
    "att2in": "Att2in",
    "soft_attention": "soft attention",
    "transformer": "Transformer",
    "mean_pooled": "mean-pooled",
}
VQA_MODELS = {
    "updown_hu": "Up-Down (Hu)",
    "updown_hu_counter": "Up-Down (Hu), counting",
    "updown_teney": "Up-Down (Teney)",
    "ban": "BAN",
    "mcan": "MCAN",
    "mean_pooled": "mean-pooled",
    "question_only": "question only",
}
GROUNDING_SCORES = {
    "iou_accuracy": "IoU accuracy",
    "iou_chance": "by chance",
    "pointing_accuracy": "pointing accuracy",
    "pointing_chance": "by chance",
    "attention_mass": "attention mass",
}
SPLITS = {"test": "test", "novel": "novel combinations"}


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def percentage(value: float | None) -> str:
    """Return a fraction as a percentage, or an empty cell where it was not measured."""
    return "" if value is None else f"{100 * value:.1f} %"


def quickstart(results: Results) -> str:
    """Return the tables of the quickstart."""
    captions, vqa = results["captions"], results["vqa"]
    caption_rows = [
        [
            name,
            *(f"{captions[s][name]['CIDEr']:.3f}" for s in captions),
            *(percentage(captions[s][name]["grounded"]) for s in captions),
            *(percentage(captions[s][name]["chance"]) for s in captions),
        ]
        for name in captions["test"]
    ]
    vqa_rows = [
        [name, *(f"{vqa[s][name]['overall']:.2f}" for s in vqa)]
        + [f"{vqa['test'][name]['per_answer_type'][kind]:.2f}" for kind in ("yes/no", "number", "other")]
        for name in vqa["test"]
    ]
    minutes = sum(stage["seconds"] for stage in results["stages"]) / 60
    other = json.loads((ROOT / "experiments/quickstart/results_epyc.json").read_text())
    cider, novel = (other["captions"][split]["Up-Down"]["CIDEr"] for split in captions)
    accuracy, novel_accuracy = (other["vqa"][split]["Up-Down"]["overall"] for split in vqa)
    caption_head = ["captions", "CIDEr", "CIDEr, novel", "grounded words", "grounded words, novel"]
    return "\n\n".join(
        [
            f"`bua quickstart` generated {results['data']['images']:,} images and took {minutes:.1f} minutes "
            "on two cores. *Novel* images show combinations of kind and color that do not occur in training.",
            markdown([*caption_head, "by chance", "by chance, novel"], caption_rows),
            markdown(["answers, VQA accuracy", "overall", "novel", "yes/no", "number", "other"], vqa_rows),
            "A word is grounded if the most attended region overlaps the object that the word names with an "
            "IoU of at least 0.5; *by chance* is the expected value for a random region.",
            "The same commands give the same digits only on the same processor, because others add "
            f"numbers in a different order. On an AMD EPYC, Up-Down had a CIDEr of {cider:.3f} ({novel:.3f} "
            f"on novel images) and a VQA accuracy of {accuracy:.2f} ({novel_accuracy:.2f}).",
        ]
    )


def real(results: Results) -> str:
    """Return the table of the small experiments on real files."""
    rows = [
        ["captions of the 100 training images", "CIDEr", f"{results['train_captions']['CIDEr']:.3f}"],
        ["captions of the 44 other images", "CIDEr", f"{results['test_captions']['CIDEr']:.3f}"],
        ["", "BLEU-4", f"{results['test_captions']['BLEU-4']:.3f}"],
        ["", "METEOR", f"{results['test_captions']['METEOR']:.3f}"],
        ["answers to the 200 other questions", "VQA accuracy", f"{results['vqa']['overall']:.2f}"],
        [
            "the most frequent answer for all questions",
            "VQA accuracy",
            f"{results['vqa_prior']['overall']:.2f}",
        ],
    ]
    return markdown(["predictions", "metric", "score"], rows)


def speed(results: Results) -> str:
    """Return the table of all measurements of speed and memory."""
    rows = [[r["what"], r["value"], r["target"]] for r in results["measurements"]]
    return markdown(["measurement", "result", "target"], rows) + f"\n\nMeasured on {results['machine']}."


def over_seeds(
    runs: list[Results], seeds: int, path: tuple[str | int, ...], digits: int, scale: float = 1
) -> str:
    """Return mean and standard deviation over seeds, or an empty cell until all seeds are finished."""
    if len(runs) < seeds:
        return ""
    values = []
    for run in runs:
        value: Any = run
        for key in path:
            value = value[key] if isinstance(value, list) else value.get(key) if value is not None else None
        if value is None:  # such as SPICE where its models are not installed
            return ""
        values.append(value * scale)
    return f"{statistics.mean(values):.{digits}f}{deviation(values, digits)}"


def deviation(values: Sequence[float], digits: int) -> str:
    """Return the sample standard deviation as the end of a cell; nothing for one value."""
    return f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""


def gains(before: list[Results], after: list[Results], seeds: int, split: str) -> str:
    """Return the gain in CIDEr of runs of the same seed, or an empty cell until all seeds are finished."""
    base = {run["seed"]: run[split]["CIDEr"] for run in before}
    differences = [run[split]["CIDEr"] - base[run["seed"]] for run in after if run["seed"] in base]
    if len(differences) < seeds:
        return ""
    return f"{statistics.mean(differences):+.3f}{deviation(differences, 3)}"


def cost(results: Results) -> str:
    """Return a sentence about the time that a study took."""
    if not results["runs"]:
        return "No training run is finished yet."
    total = sum(run["minutes"] for run in results["runs"])
    text = f"{len(results['runs'])} training runs took {total:.0f} minutes, with one thread each"
    if results.get("minutes"):
        whole = f"the whole study took {results['minutes']:.0f} minutes, {results['jobs']} runs at a time"
        return f"{text}; {whole}."
    return f"{text}, on a machine with other work."


def introduction(results: Results, more_about_training: str = "") -> str:
    """Return a paragraph that explains the numbers of a study and what they cost."""
    images = results["images"]
    return (
        f"Models are trained on {images['train']:,} images{more_about_training} and tested on "
        f"{images['test']} others and on {images['novel']} with novel combinations of kind and color. Cells "
        f"show mean and standard deviation over {results['seeds']} seeds, and are empty until all seeds are "
        f"finished. {cost(results)}"
    )


def group_runs(results: Results, *keys: str) -> dict[tuple[Any, ...], list[Results]]:
    """Return the runs of a study by what they are, without their seed."""
    runs: dict[tuple[Any, ...], list[Results]] = {}
    for run in results["runs"]:
        runs.setdefault(tuple(run[key] for key in keys), []).append(run)
    return runs


def cider_tables(results: Results) -> list[str]:
    """Return CIDEr of the captioning study, its gains over cross-entropy, and the rewards in training."""
    runs, seeds = group_runs(results, "model", "features", "objective"), results["seeds"]
    pairs = list(dict.fromkeys((model, features) for model, features, _ in runs))
    tables = []
    for split, name in SPLITS.items():
        rows = [
            [CAPTIONERS[pair[0]], pair[1]]
            + [over_seeds(runs.get((*pair, how), []), seeds, (split, "CIDEr"), 3) for how in OBJECTIVES]
            for pair in pairs
        ]
        tables.append(markdown([f"CIDEr, {name}", "features", *OBJECTIVES.values()], rows))
    compared = ("self_critical", "longer")
    rows = [
        [CAPTIONERS[pair[0]], pair[1]]
        + [
            gains(runs.get((*pair, "cross_entropy"), []), runs.get((*pair, how), []), seeds, split)
            for how in compared
            for split in SPLITS
        ]
        for pair in pairs
    ]
    head = [f"{OBJECTIVES[how]}, {split}" for how in compared for split in SPLITS]
    tables.append(markdown(["gain in CIDEr over cross-entropy of the same seed", "features", *head], rows))
    rows = [
        [CAPTIONERS[pair[0]], pair[1]]
        + [
            over_seeds(runs.get((*pair, "self_critical"), []), seeds, ("sample_rewards", n), 3)
            for n in (0, 1)
        ]
        for pair in pairs
    ]
    tables.append(
        markdown(["mean reward of sampled captions", "features", "first epoch", "last epoch"], rows)
    )
    return tables


def captioning_more(results: Results) -> str:
    """Return the tables of the captioning study with more training images."""
    head = f"Models are trained on {results['images']['train']:,} images. {cost(results)}"
    return "\n\n".join([head, *cider_tables(results)])


def captioning(results: Results) -> str:
    """Return the tables of the captioning study."""
    runs, seeds = group_runs(results, "model", "features", "objective"), results["seeds"]
    pairs = list(dict.fromkeys((model, features) for model, features, _ in runs))
    scores = {
        "SPICE": "SPICE",
        "bad_endings": "bad endings",
        "repeated": "repeated trigram",
        **GROUNDING_SCORES,
    }
    rows = [
        [CAPTIONERS[pair[0]], pair[1], OBJECTIVES[how]]
        + [over_seeds(runs.get((*pair, how), []), seeds, ("test", name), 1, 100) for name in scores]
        for pair in pairs
        for how in ("cross_entropy", "self_critical")
    ]
    table = markdown(["test, %", "features", "objective", *scores.values()], rows)
    return "\n\n".join([introduction(results), *cider_tables(results), table])


def vqa(results: Results) -> str:
    """Return the tables of the VQA study."""
    runs, seeds = group_runs(results, "model", "features", "epochs"), results["seeds"]
    short = min((epochs for _, _, epochs in runs), default=None)
    types = ("yes/no", "number", "other")
    tables = []
    for split, name in SPLITS.items():
        rows = [
            [vqa_model_name(model, epochs, short), "none" if model == "question_only" else features]
            + [f"{some[0]['parameters'] / 1e6:.2f} M"]
            + [over_seeds(some, seeds, (split, kind), 2) for kind in ("overall", *types)]
            for (model, features, epochs), some in runs.items()
        ]
        head = [f"VQA accuracy, {name}", "features", "parameters", "overall", *types]
        tables.append(markdown(head, rows))
    pointing = [f"pointing, {kind}" for kind in types]
    for split, name in SPLITS.items():
        rows = [
            [vqa_model_name(model, epochs, short), features]
            + [
                over_seeds(some, seeds, (split, "grounding", "overall", score), 1, 100)
                for score in GROUNDING_SCORES
            ]
            + [
                over_seeds(some, seeds, (split, "grounding", kind, "pointing_accuracy"), 1, 100)
                for kind in types
            ]
            for (model, features, epochs), some in runs.items()
            if model not in ("mean_pooled", "question_only")
        ]
        head = [f"attention, {name}, %", "features", *GROUNDING_SCORES.values(), *pointing]
        tables.append(markdown(head, rows))
    return "\n\n".join([introduction(results, " with six questions each"), *tables])


def vqa_model_name(model: str, epochs: Any, short: Any) -> str:
    """Return the name of a model in the tables, with its epochs unless they are the usual ones."""
    return VQA_MODELS[model] + (f", {epochs} epochs" if epochs != short else "")


def rates(results: Results) -> str:
    """Return the table of the learning rates that were compared for a study."""
    digits = 2 if results["metric"] == "val/accuracy" else 3
    names = CAPTIONERS | VQA_MODELS
    rows = [[names[one["model"]], f"{one['rate']:g}", f"{one['val']:.{digits}f}"] for one in results["tried"]]
    metric = {"val/accuracy": "accuracy", "val/CIDEr": "CIDEr"}[results["metric"]]
    head = f"Best {metric} on val within {results['epochs']} epochs on regions, with seed {results['seed']}."
    return "\n\n".join([head, markdown(["model", "learning rate", f"{metric}, val"], rows)])


def mutants(results: Results) -> str:
    """Return how many random changes to the code the tests notice, and the changes that they do not."""
    tried = results["tried"]
    packages = sorted({"/".join(one["file"].split("/")[:2]) for one in tried})
    rows = []
    for name, prefix in [*((p, f"{p}/") for p in packages), ("all", "")]:
        some = [one for one in tried if one["file"].startswith(prefix)]
        caught = sum(one["caught_by"] is not None for one in some)
        same = sum(bool(one.get("why")) for one in some)
        rate = percentage(caught / (len(some) - same) if len(some) > same else None)
        rows.append([name, f"{len(some)}", f"{caught}", f"{same}", f"{len(some) - caught - same}", rate])
    head = [
        "package",
        "tried",
        "caught",
        "change nothing",
        "not caught",
        "caught of the others",
    ]
    unnoticed = [
        [f"`{one['file']}:{one['line']}`", code(one["before"]), code(one["after"]), one.get("why") or ""]
        for one in tried
        if one["caught_by"] is None
    ]
    unfinished = "" if len(tried) == results["sample"] else f" {len(tried)} of them have been tried."
    return "\n\n".join(
        [
            f"`{results['command']}` drew {results['sample']} of {results['mutants']:,} mutants.{unfinished}",
            markdown(head, rows),
            "Those that no test notices:",
            markdown(["where", "code", "mutant", "why it changes nothing"], unnoticed),
        ]
    )


def code(text: str) -> str:
    """Return code as a cell of a table."""
    fence = "``" if "`" in text else "`"
    return f"{fence}{text.replace('|', chr(92) + '|')}{fence}"


#: Marker in a README -> file of results, and the function that makes the text.
def kills(results: Results) -> str:
    """Return the table of killed commands."""
    lines = [
        "| place | command | kills | runs | seconds undisturbed | failures |",
        "|---|---|---|---|---|---|",
    ]
    total = failures = 0
    for place in ("one file system", "two file systems"):
        for name, found in results.get(place, {}).items():
            failed = len(found["failures"]) + found["processes left"]
            seconds = found["seconds of an undisturbed run"]
            lines.append(
                f"| {place} | `{name}` | {found['kills']} | {found['rows']} | {seconds} | {failed} |"
            )
            total, failures = total + found["kills"], failures + failed
    return "\n".join([*lines, f"| both | all | {total} | | | {failures} |"])


TABLES: dict[str, tuple[str, Callable[[Results], str]]] = {
    "quickstart": ("experiments/quickstart/results.json", quickstart),
    "real": ("experiments/real/results.json", real),
    "captioning": ("experiments/captioning/results.json", captioning),
    "captioning-more": ("experiments/captioning/more.json", captioning_more),
    "vqa": ("experiments/vqa/results.json", vqa),
    "vqa-rates": ("experiments/vqa/rates.json", rates),
    "captioning-rates": ("experiments/captioning/rates.json", rates),
    "speed": ("experiments/speed/results.json", speed),
    "kills": ("experiments/kills/results.json", kills),
    "mutants": ("experiments/mutants/results.json", mutants),
    "speed-gpu": ("experiments/speed/results_gpu.json", speed),
}
READMES = ["README.md", *dict.fromkeys(f"{Path(file).parent}/README.md" for file, _ in TABLES.values())]


def fill(text: str) -> str:
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
        filled = fill(path.read_text())
        if filled != path.read_text():
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(filled)
    print("\n".join(f"{name}: {'stale' if '--check' in sys.argv else 'written'}" for name in stale))
    return int(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
