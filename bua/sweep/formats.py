"""The table of a sweep as Markdown, CSV or LaTeX."""

import csv
import io
from collections.abc import Callable

from bua.sweep.table import Row, Table, Value

#: Characters that LaTeX reads, and how they are written.
_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
        **{character: f"\\{character}" for character in "&%$#_{}"},
    }
)


def cells(table: Table) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of a table as texts."""
    header = [*table.keys, "jobs", *table.names, "best epoch", "minutes"]
    return header, [_row_cells(row, table) for row in table.rows]


def _row_cells(row: Row, table: Table) -> list[str]:
    seconds = row.seconds
    deviation = None if seconds is None or seconds.deviation is None else seconds.deviation / 60
    return [
        *(row.options.get(key, "") for key in table.keys),
        format_states(row),
        *(_format(row.values.get(name), 4) for name in table.names),
        _format(row.epoch, 1),
        _format(None if seconds is None else Value(seconds.mean / 60, deviation), 1),
    ]


def format_states(row: Row) -> str:
    """Return how many jobs are in which state, such as "2 done, 1 failed"."""
    return ", ".join(f"{count} {state}" for state, count in sorted(row.states.items()))


def _format(value: Value | None, digits: int) -> str:
    """Return a mean with its deviation, or nothing."""
    if value is None:
        return ""
    deviation = "" if value.deviation is None else f" ± {value.deviation:.{digits}f}"
    return f"{value.mean:.{digits}f}{deviation}"


def to_markdown(table: Table) -> str:
    """Return a table in Markdown."""
    header, lines = cells(table)
    escaped = [[cell.replace("|", r"\|") for cell in line] for line in (header, *lines)]
    escaped.insert(1, ["---"] * len(header))
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


def to_csv(table: Table) -> str:
    """Return a table as CSV, with mean and deviation in columns of their own, and all digits."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = [
        name for metric in (*table.names, "best epoch", "seconds") for name in (metric, f"{metric} deviation")
    ]
    writer.writerow([*table.keys, "jobs", *names])
    for row in table.rows:
        values = [*(row.values.get(name) for name in table.names), row.epoch, row.seconds]
        numbers = [n for v in values for n in ((None, None) if v is None else (v.mean, v.deviation))]
        writer.writerow([*(row.options.get(key, "") for key in table.keys), format_states(row), *numbers])
    return out.getvalue().rstrip("\n")


def to_latex(table: Table) -> str:
    """Return a table in LaTeX, for the package booktabs."""
    header, lines = cells(table)
    rows = [" & ".join(cell.translate(_LATEX) for cell in line) + r" \\" for line in (header, *lines)]
    columns = "l" * len(table.keys) + "r" * (len(header) - len(table.keys))
    begin, end = rf"\begin{{tabular}}{{{columns}}}", r"\end{tabular}"
    return "\n".join([begin, r"\toprule", rows[0], r"\midrule", *rows[1:], r"\bottomrule", end])


#: Functions that return a table as text, by the name of the format.
FORMATS: dict[str, Callable[[Table], str]] = {"markdown": to_markdown, "csv": to_csv, "latex": to_latex}
