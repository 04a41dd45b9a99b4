"""The report of ``bua quickstart``."""

from collections.abc import Mapping, Sequence
from typing import Any

from bua.visualize.page import Panel, escape, render_page, render_panel, table

_CAPTION_HEAD = ("", "CIDEr", "BLEU-4", "ROUGE-L", "grounded words", "by chance")
_VQA_HEAD = ("", "overall", "yes/no", "number", "other")


def quickstart_page(results: Mapping[str, Any], panels: Sequence[Panel], command: str) -> str:
    """Return the report as a self-contained page.

    Args:
        results: Content of ``results.json``.
        panels: Images with captions and questions.
        command: Command line that made the results.
    """
    data, stages = results["data"], results["stages"]
    total = sum(stage["seconds"] for stage in stages)
    body = [
        "<h1>Bottom-up attention, from images to words</h1>",
        f'<p class="lead">A detector found regions in {data["images"]:,} synthetic images. A captioner and '
        "a VQA model were then trained on this machine to attend to these regions. "
        f"All steps took {total / 60:.1f} minutes.</p>",
        "<h2>Attention</h2>",
        '<p class="lead">No model was trained on these images. Point at a word or a question to see the '
        "regions that the model attended to: the more opaque a box, the larger its weight. Attention shows "
        "what the model read, not why it chose a word or an answer.</p>",
        f'<div class="gallery">{"".join(map(render_panel, panels))}</div>',
        "<h2>Captions</h2>",
        _caption_tables(results["captions"]),
        '<p class="note">CIDEr, BLEU and ROUGE are computed against five captions per image, with the '
        "tokenizer <code>python</code>. A word of a reference caption that names an object is grounded if "
        "the most attended region overlaps the object with an IoU of at least 0.5; the last column is the "
        "expectation for a random region.</p>",
        "<h2>Answers</h2>",
        _vqa_tables(results["vqa"]),
        '<p class="note">Official VQA accuracy in percent, with ten imperfect annotators per question.</p>',
        "<h2>Steps</h2>",
        '<div class="scroll text">',
        table(
            ("stage", "seconds", "what"),
            [(s["name"], f"{s['seconds']:.0f}", s["what"]) for s in stages],
        ),
        "</div>",
        f"<p><code>{escape(command)}</code> made this report. The same commands take your own images: "
        "<code>bua extract images=IMAGES out=regions.h5</code>, then <code>bua train</code>, "
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
            f"<p>{escape(_describe_split(split))}</p>"
            + _scrollable(table(_CAPTION_HEAD, cells, best=_best(cells, _CAPTION_HEAD[1:5])))
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
            f"<p>{escape(_describe_split(split))}</p>"
            + _scrollable(table(_VQA_HEAD, cells, best=_best(cells, _VQA_HEAD[1:])))
        )
    return "".join(parts)


def _best(rows: Sequence[Sequence[str]], columns: Sequence[str]) -> set[tuple[int, int]]:
    """Return row and column of the largest value of each of the first columns after the names."""
    found = set()
    for column in range(1, len(columns) + 1):
        values = {n: float(row[column].rstrip(" %")) for n, row in enumerate(rows) if row[column]}
        found |= {
            (n, column) for n, value in values.items() if len(values) > 1 and value == max(values.values())
        }
    return found


def _scrollable(content: str) -> str:
    return f'<div class="scroll">{content}</div>'


def _describe_split(name: str) -> str:
    descriptions = {
        "test": "On new images",
        "novel": "On images with combinations of kind and color that do not occur in training",
    }
    return descriptions.get(name, name)
