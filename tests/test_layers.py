"""Who may import whom: each package those above it, and some libraries only in some packages."""

import ast
from pathlib import Path

import pytest

from tests.helpers.parity import ROOT

LAYERS = [
    "text",
    "store",
    "metrics",
    "decode",
    "models",
    "regions",
    "data",
    "tasks",
    "explore",
    "report",
    "cli",
]
BASE = {"errors", "text_file", "json_file", "conf"}
FORBIDDEN = {
    "torch": {"text", "store", "metrics"},
    "torchvision": {"text", "store", "metrics", "decode", "models"},
    "pytorch_lightning": {"text", "store", "metrics", "decode", "models", "regions", "explore", "report"},
    "hydra": set(LAYERS) - {"cli"},
    "omegaconf": set(LAYERS) - {"cli"},
}
FILES = sorted((ROOT / "bua").rglob("*.py"))


def imported(file: Path, everywhere: bool = True) -> set[str]:
    """Return the dotted names that a file imports, in functions too if ``everywhere``."""
    tree = ast.parse(file.read_text())
    nodes = list(ast.walk(tree)) if everywhere else tree.body
    names = {n.module or "" for n in nodes if isinstance(n, ast.ImportFrom)}
    return names | {alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names}


def layer(file: Path) -> str:
    return file.relative_to(ROOT / "bua").parts[0].removesuffix(".py")


def test_there_are_files_of_every_layer_but_report() -> None:
    assert {layer(file) for file in FILES} >= set(LAYERS) - {"report"}


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_imports_point_upwards(file: Path) -> None:
    if layer(file) in LAYERS:
        allowed = set(LAYERS[: LAYERS.index(layer(file)) + 1]) | BASE
        inside = {n.split(".")[1] for n in imported(file) if n.startswith("bua.")}
        assert inside <= allowed


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_libraries_are_imported_only_where_they_belong(file: Path) -> None:
    roots = {name.split(".")[0] for name in imported(file)}
    if file == ROOT / "bua/metrics/reward.py":  # rewards are computed where the model computes
        roots.discard("torch")
    assert {lib for lib, layers in FORBIDDEN.items() if lib in roots and layer(file) in layers} == set()


def test_nothing_loads_pickles_or_imports_tests() -> None:
    for file in FILES:
        text = file.read_text()
        assert "weights_only=False" not in text, file
        assert not {n for n in imported(file) if n.split(".")[0] in ("tests", "experiments")}, file


def test_files_stay_small() -> None:
    long = {str(f): n for f in FILES if (n := len(f.read_text().splitlines())) > 400}
    assert long == {}
