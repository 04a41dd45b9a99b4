"""The page at the end of ``bua quickstart``."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bua.visualize.page import Panel, escape, render_page, render_panel, table

_CAPTION_HEAD = ("", "CIDEr", "BLEU-4", "ROUGE-L", "words that look at what they name", "by chance")
_VQA_HEAD = ("", "overall", "yes/no", "number", "other")


def quickstart_page(results: Mapping[str, Any], exhibits: Sequence[Panel], command: str) -> str:
    """Return the report as a self-contained page.

    Args:
        results: what ``results.json`` holds.
        exhibits: pictures with captions and questions.
        command: what made all this.
    """
    data, stages = results["data"], results["stages"]
    total = sum(stage["seconds"] for stage in stages)
    body = [
        "<h1>Bottom-up attention, from pictures to words</h1>",
        f'<p class="lead">A detector found regions in {data["pictures"]:,} synthetic pictures. A captioner '
        "and a model that answers questions then learnt, on this machine, to attend to those regions. "
        f"All of it took {total / 60:.1f} minutes.</p>",
        "<h2>Where it looks</h2>",
        '<p class="lead">Pictures that no model was trained on. Point at a word, or at a question, to '
        "see the regions that it looked at: the more opaque, the more weight. Attention shows what was "
        "read, not why it was said.</p>",
        f'<div class="gallery">{"".join(render_panel(shown) for shown in exhibits)}</div>',
        "<h2>Captions</h2>",
        _caption_tables(results["captions"]),
        '<p class="note">CIDEr, BLEU and ROUGE against five captions a picture, with the tokenizer that '
        "needs no Java. A word of a reference caption that names a thing looks at it if the region with "
        "the largest weight overlaps the thing with IoU 0.5 or more; the last column is what a region "
        "taken at random would give.</p>",
        "<h2>Answers</h2>",
        _vqa_tables(results["vqa"]),
        '<p class="note">Official VQA accuracy in percent, ten imperfect annotators a question.</p>',
        "<h2>How it was made</h2>",
        '<div class="scroll">',
        table(
            ("stage", "seconds", "what"),
            [(s["name"], f"{s['seconds']:.0f}", s["what"]) for s in stages],
        ),
        "</div>",
        f"<p>Made by <code>{escape(command)}</code>. The same commands take your own photographs: "
        "<code>bua extract images=PHOTOS out=regions.h5</code>, then <code>bua train</code>, "
        "<code>bua caption</code> and <code>bua ask</code>.</p>",
    ]
    return render_page("Bottom-up attention: quickstart", "".join(body))


def _caption_tables(captions: Mapping[str, Any]) -> str:
    parts = []
    for split, rows in captions.items():
        cells = [
            (
                name,
                f"{row['CIDEr']:.3f}",
                f"{row['BLEU-4']:.3f}",
                f"{row['ROUGE-L']:.3f}",
                f"{100 * row['grounded']:.1f} %" if row["grounded"] is not None else "",
                f"{100 * row['chance']:.1f} %" if row["chance"] is not None else "",
            )
            for name, row in rows.items()
        ]
        parts.append(
            f"<p>{escape(_split(split))}</p>"
            + _wide(table(_CAPTION_HEAD, cells, best=_best(row["CIDEr"] for row in rows.values())))
        )
    return "".join(parts)


def _vqa_tables(vqa: Mapping[str, Any]) -> str:
    parts = []
    for split, rows in vqa.items():
        cells = [
            (
                name,
                f"{row['overall']:.2f}",
                *(f"{row['per_answer_type'].get(kind, 0):.2f}" for kind in _VQA_HEAD[2:]),
            )
            for name, row in rows.items()
        ]
        parts.append(
            f"<p>{escape(_split(split))}</p>"
            + _wide(table(_VQA_HEAD, cells, best=_best(row["overall"] for row in rows.values())))
        )
    return "".join(parts)


def _best(values: Iterable[float]) -> list[int]:
    """Return where the largest value stands, every place of it if there are several."""
    numbers = list(values)
    return [n for n, value in enumerate(numbers) if value == max(numbers)]


def _wide(inner: str) -> str:
    return f'<div class="scroll">{inner}</div>'


def _split(name: str) -> str:
    told = {
        "test": "On new pictures",
        "novel": "On pictures with combinations of kind and colour that training never showed",
    }
    return told.get(name, name)
