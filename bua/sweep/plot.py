"""The plot of a sweep: the best value over one option, a line for every value of the others; and its page."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bua.errors import InputError
from bua.io.write import write_bytes, write_text
from bua.sweep.formats import cells
from bua.sweep.table import Row, Table
from bua.visualize.page import escape, render_page
from bua.visualize.page import table as html_table

#: Colours that remain distinct to people who see few colours (Okabe and Ito), without yellow.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = "osD^vPX"
#: File formats of a plot.
SUFFIXES = (".png", ".pdf", ".svg")


def draw_table(table: Table, x: str | None = None, color: str | None = None) -> Any:
    """Return a matplotlib figure of the best values of a sweep, with deviations over seeds as bars.

    Args:
        table: Table of the sweep.
        x: Option on the horizontal axis. Default: the one with the most values.
        color: Option that the lines differ in. Default: all options but ``x``.

    Raises:
        InputError: If matplotlib is missing, no job is done, or there is no such option.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("plots need matplotlib: pip install 'bua[plot]'") from None
    rows = [row for row in table.rows if table.metric in row.values]
    if not rows or not table.keys:
        raise InputError(
            "there is nothing to draw: no finished jobs that differ in an option other than seed"
        )
    for name, key in (("x", x), ("color", color)):
        if key is not None and key not in table.keys:
            raise InputError(f"{name}={key}: the jobs differ in {', '.join(table.keys)}")
    x = x or max(table.keys, key=lambda key: len({row.options.get(key) for row in rows}))
    others = [color] if color else [key for key in table.keys if key != x]
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    _draw_lines(axes, table.metric, rows, x, others)
    axes.set(xlabel=x, ylabel=f"best {table.metric}")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if any(others):
        axes.legend(frameon=False, fontsize=9)
    return figure


def _draw_lines(axes: Any, metric: str, rows: Sequence[Row], x: str, others: Sequence[str]) -> None:
    places = _places([row.options.get(x, "") for row in rows])
    if all(isinstance(place, int) for place in places.values()):
        axes.set_xticks(list(places.values()), list(places))
    elif min(places.values()) > 0 and max(places.values()) >= 10 * min(places.values()):
        axes.set_xscale("log")
    groups: dict[str, list[Row]] = {}
    for row in rows:
        label = ", ".join(f"{key}={row.options[key]}" for key in others if key in row.options)
        groups.setdefault(label, []).append(row)
    for n, (label, members) in enumerate(sorted(groups.items())):
        members.sort(key=lambda row: places[row.options.get(x, "")])
        values = [row.values[metric] for row in members]
        axes.errorbar(
            [places[row.options.get(x, "")] for row in members],
            [value.mean for value in values],
            [value.deviation or 0 for value in values],
            label=label,
            color=COLORS[n % len(COLORS)],
            marker=MARKERS[n % len(MARKERS)],
            capsize=3,
        )


def _places(values: Sequence[str]) -> dict[str, float]:
    """Return where values are on the axis: numbers where they are, words next to each other as integers."""
    distinct = list(dict.fromkeys(values))
    try:
        return {value: float(value) for value in distinct}
    except ValueError:
        return {value: n for n, value in enumerate(sorted(distinct))}


def save_plot(figure: Any, path: Path) -> None:
    """Write a figure as PNG, PDF or SVG, by the suffix of the file.

    Raises:
        InputError: If the suffix is another one.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"plot={path}: must end in {', '.join(SUFFIXES)}")
    write_bytes(path, _render(figure, path.suffix.lower()[1:]))


def _render(figure: Any, kind: str) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format=kind, dpi=150)
    return file.getvalue()


def write_page(path: Path, title: str, table: Table, figure: Any) -> None:
    """Write a page with the plot and the table of a sweep: one file that needs no others."""
    header, lines = cells(table)
    drawing = _render(figure, "svg").decode()
    drawing = drawing[drawing.index("<svg") :].replace(
        "<svg ", '<svg style="max-width: 100%; height: auto" ', 1
    )
    body = f"<h1>{escape(title)}</h1><p>{drawing}</p>"
    write_text(path, render_page(title, f'{body}<div class="scroll">{html_table(header, lines)}</div>'))
