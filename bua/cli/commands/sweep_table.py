"""``bua sweep table``: the results of a sweep, with seeds as mean and deviation."""

from dataclasses import dataclass
from pathlib import Path

from bua.errors import InputError
from bua.io.write import write_text
from bua.sweep.directory import SweepDirectory
from bua.sweep.formats import FORMATS
from bua.sweep.table import make_table


@dataclass
class Options:
    """Keys of the command, described in conf/sweep_table.yaml."""

    sweep: str
    format: str
    metrics: list[str]
    out: str | None
    plot: str | None
    html: str | None
    x: str | None
    color: str | None


def main(options: Options) -> None:
    """Print or write the table of a sweep, and draw it."""
    if options.format not in FORMATS:
        raise InputError(f"format={options.format}: must be one of {', '.join(FORMATS)}")
    if not (options.plot or options.html) and (options.x or options.color):
        raise InputError("x= and color= are for plot=FILE or html=FILE")
    table = make_table(SweepDirectory(options.sweep), options.metrics)
    text = FORMATS[options.format](table)
    if options.plot or options.html:
        from bua.sweep.plot import draw_table, save_plot, write_page

        figure = draw_table(table, options.x, options.color)
        if options.plot:
            save_plot(figure, Path(options.plot))
        if options.html:
            write_page(Path(options.html), Path(options.sweep).name, table, figure)
    if options.out is None:
        print(text)
    else:
        write_text(Path(options.out), text + "\n")
        print(f"{options.out}: {len(table.rows)} rows")
