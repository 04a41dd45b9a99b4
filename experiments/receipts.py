"""Receipts: what the source of each recipe says, beside what ``bua`` does.

``experiments/receipts/NAME.yaml`` holds a receipt for each experiment in ``conf/experiment`` that names a
published source. Each of its rows is a setting:

- ``source``: what the source says, or ``unverified`` if that was not found.
- ``where``: file or section of the source that says so.
- ``key``: key of the configuration from which ``bua`` reads the setting. Its value is never typed here: it is
  read from the composed configuration.
- ``bua``: instead of a key, what ``bua`` does where no key decides it.
- ``deviation``: why ``bua`` differs. A row has it if and only if both differ.

A receipt may start from another one (``like``), replace its rows by the name of their setting, and leave out
some (``without``).

python -m experiments.receipts          writes the tables of docs/recipes.md
python -m experiments.receipts --check  exits with 1 if they differ from the receipts
"""

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

ROOT = Path(__file__).parents[1]
FOLDER = Path(__file__).with_suffix("")
PAGE = ROOT / "docs" / "recipes.md"
BEGIN, END = "<!-- recipes -->\n", "<!-- /recipes -->"
UNVERIFIED = "unverified"
KEYS = {"setting", "source", "where", "key", "bua", "deviation"}
#: Files that an experiment asks for, where a setting depends on them.
FILES = ["questions=folder"]


class Row(NamedTuple):
    """A setting of a recipe.

    Attributes:
        setting: Its name.
        source: Its value in the source, ``UNVERIFIED`` if unknown.
        where: File or section of the source.
        key: Key of the configuration, or ``None`` if no key decides it.
        bua: Its value in ``bua``.
        deviation: Why the values differ; empty if they are equal.
    """

    setting: str
    source: Any
    where: str
    key: str | None
    bua: Any
    deviation: str

    @property
    def is_verified(self) -> bool:
        """Whether the source was found."""
        return bool(self.source != UNVERIFIED)

    @property
    def differs(self) -> bool:
        """Whether the source says something else than ``bua`` does."""
        return self.is_verified and not is_equal(self.source, self.bua)


class Receipt(NamedTuple):
    """The rows of an experiment, and the repository or paper that they are about."""

    name: str
    source: str
    rows: list[Row]


def names() -> list[str]:
    """Return the experiments that have a receipt."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read_receipt(name: str) -> Receipt:
    """Return the receipt of an experiment, with the values of its composed configuration."""
    source, rows = _read(name)
    with initialize_config_module("bua.conf", version_base="1.3"):
        config = compose("train", [f"experiment={name}"])
        if "questions" in list(config):  # also where its value is missing
            config = compose("train", [f"experiment={name}", *FILES])
    return Receipt(name, source, [_row(name, row, config) for row in rows.values()])


def _read(name: str) -> tuple[str, dict[str, dict[str, Any]]]:
    """Return the source and the rows by setting, with those of the receipt that it starts from."""
    content: Any = OmegaConf.to_container(OmegaConf.load(FOLDER / f"{name}.yaml"))
    source, rows = _read(content["like"]) if "like" in content else ("", {})
    for setting in content.get("without", []):
        del rows[setting]
    for row in content["rows"]:
        rows[row["setting"]] = row
    return content.get("source", source), rows


def _row(name: str, row: Mapping[str, Any], config: Any) -> Row:
    if not {"setting", "source"} <= set(row) <= KEYS or ("key" in row) == ("bua" in row):
        raise ValueError(f"{name}: {row}: needs setting, source, and either key or bua")
    bua = read_key(config, row["key"]) if "key" in row else row["bua"]
    where, deviation = row.get("where", ""), row.get("deviation", "")
    return Row(row["setting"], row["source"], where, row.get("key"), bua, deviation)


def read_key(config: Any, key: str) -> Any:
    """Return a plain value of a configuration; of a class, its name."""
    node = config
    for part in key.split("."):
        node = node.get(part) if part == "scheduler" else node[part]  # which has no key if there is none
    value = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    return value.rpartition(".")[2] if key.endswith("_target_") else value


def is_equal(one: Any, other: Any) -> bool:
    """Return whether two values are equal, numbers up to rounding."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(is_equal(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_equal, one, other))
    if isinstance(one, bool) or isinstance(other, bool) or not isinstance(one, int | float):
        return type(one) is type(other) and bool(one == other)
    return isinstance(other, int | float) and math.isclose(one, other, rel_tol=1e-9)


def text(value: Any) -> str:
    """Return a value as a cell of a table."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.7g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {text(one)}" for key, one in value.items())
    if isinstance(value, list):
        return " ".join(map(text, value))
    return str(value).replace("|", "\\|")


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows])


def make_page(receipts: list[Receipt]) -> str:
    """Return the generated part of the page: a summary, then a section for each recipe."""
    rows = []
    for one in receipts:
        unverified = sum(not row.is_verified for row in one.rows)
        different = sum(bool(row.deviation) for row in one.rows)
        counts = [len(one.rows), len(one.rows) - unverified - different, different, unverified]
        rows.append([f"[`{one.name}`](#{one.name})", one.source, *map(str, counts)])
    head = ["recipe", "source", "settings", "equal", "different", "unverified"]
    return "\n\n".join([table(head, rows), *map(make_section, receipts)])


def make_section(receipt: Receipt) -> str:
    """Return the table of a recipe, and its deviations with their reasons."""
    rows = [
        [row.setting, text(row.source), row.where, _bua(row), "**differs**" if row.deviation else ""]
        for row in receipt.rows
    ]
    parts = [f"## {receipt.name}", f"Source: {receipt.source}."]
    parts.append(table(["setting", "source", "where", "`bua`", ""], rows))
    deviations = [f"- {row.setting}: {row.deviation}" for row in receipt.rows if row.deviation]
    if deviations:
        parts.append("What differs, and may move the score:\n\n" + "\n".join(deviations))
    return "\n\n".join(parts)


def _bua(row: Row) -> str:
    return f"{text(row.bua)} (`{row.key}`)" if row.key else text(row.bua)


def fill(page: str, receipts: list[Receipt]) -> str:
    """Return the page with its generated part made anew."""
    before, rest = page.split(BEGIN, 1)
    _, after = rest.split(END, 1)
    return f"{before}{BEGIN}\n{make_page(receipts)}\n\n{END}{after}"


def main() -> int:
    """Write or check the page."""
    page = PAGE.read_text()
    filled, check = fill(page, list(map(read_receipt, names()))), "--check" in sys.argv
    if filled == page:
        return 0
    print(f"{PAGE.relative_to(ROOT)}: {'stale' if check else 'written'}")
    if not check:
        PAGE.write_text(filled)
    return int(check)


if __name__ == "__main__":
    sys.exit(main())
