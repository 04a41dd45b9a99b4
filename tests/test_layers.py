"""The layers of the package: each imports only those before it, and some libraries only belong in some."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.parity import ROOT

#: Packages in the order of CONTRIBUTING.md; a package imports only itself and those before it.
LAYERS = [
    "io",
    "structures",
    "text",
    "store",
    "metrics",
    "decode",
    "models",
    "detectors",
    "data",
    "inference",
    "visualize",
    "tasks",
    "engine",
    "evaluation",
    "quickstart",
    "sweep",
    "cli",
]
#: Modules that every layer may import.
BASE = {"errors", "public_names"}
#: Libraries, and the layers that may not import them.
FORBIDDEN = {
    "torch": {"io", "structures", "text", "store", "metrics"},
    "torchvision": {"io", "structures", "text", "store", "metrics", "decode", "models"},
    "pytorch_lightning": set(LAYERS) - {"data", "tasks", "engine"},
    "lightning_fabric": set(LAYERS) - {"engine"},
    "hydra": set(LAYERS) - {"engine", "sweep", "cli"},
    "omegaconf": set(LAYERS) - {"engine", "sweep", "cli"},
}
#: Modules with tensors in packages that do not import torch by themselves.
WITH_TENSORS = {"io/workers.py", "structures/region_batch.py", "metrics/reward.py"}
#: What only the command line does.
COMPOSING = ("hydra.compose", "hydra.main", "hydra.initialize", "hydra.core.hydra_config")
FILES = sorted((ROOT / "bua").rglob("*.py"))


def imported_names(file: Path) -> set[str]:
    """Return the dotted names that a file imports, inside functions as well."""
    nodes = list(ast.walk(ast.parse(file.read_text())))
    names = {f"{n.module}.{alias.name}" for n in nodes if isinstance(n, ast.ImportFrom) for alias in n.names}
    return names | {alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names}


def layer(file: Path) -> str:
    return file.relative_to(ROOT / "bua").parts[0].removesuffix(".py")


def test_every_package_is_a_layer() -> None:
    packages = {file.parent.name for file in (ROOT / "bua").glob("*/__init__.py")} - {"conf"}
    assert packages == set(LAYERS)


@pytest.mark.parametrize("name", LAYERS)
def test_contributing_names_every_layer_in_this_order(name: str) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    positions = [text.find(f"| `{each}`") for each in LAYERS[: LAYERS.index(name) + 1]]
    assert -1 not in positions
    assert positions == sorted(positions)


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_a_layer_imports_only_itself_and_those_before_it(file: Path) -> None:
    if layer(file) in LAYERS:
        allowed = set(LAYERS[: LAYERS.index(layer(file)) + 1]) | BASE | {"__version__"}
        assert {n.split(".")[1] for n in imported_names(file) if n.startswith("bua.")} <= allowed


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_libraries_are_imported_only_where_they_belong(file: Path) -> None:
    roots = {name.split(".")[0] for name in imported_names(file)}
    if str(file.relative_to(ROOT / "bua")) in WITH_TENSORS:
        roots.discard("torch")
    assert {lib for lib, layers in FORBIDDEN.items() if lib in roots and layer(file) in layers} == set()


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_only_the_command_line_composes_configurations(file: Path) -> None:
    if layer(file) != "cli":
        assert [name for name in imported_names(file) if name.startswith(COMPOSING)] == []


@pytest.mark.parametrize("package", ["io", "structures", "text", "store", "metrics"])
def test_packages_without_tensors_do_not_load_torch(package: str) -> None:
    code = f"import sys, bua.{package}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_classes_of_configurations_are_looked_up_in_one_place() -> None:
    imports = {f: imported_names(f) for f in FILES}
    assert any("bua.engine.targets.find_class" in names for names in imports.values())
    lookups = ("hydra.utils.get_", "hydra.utils.call", "hydra._internal")
    assert {str(f): n for f, names in imports.items() for n in names if n.startswith(lookups)} == {}
    calling = [f for f in FILES if "hydra.utils.instantiate(" in f.read_text()]
    assert [f.name for f in calling] == ["instantiate.py"]


def test_nothing_loads_pickles_or_imports_tests() -> None:
    for file in FILES:
        assert "weights_only=False" not in file.read_text(), file
        assert not {n for n in imported_names(file) if n.split(".")[0] in ("tests", "experiments")}, file


def test_no_test_imports_from_another_test() -> None:
    for file in sorted((ROOT / "tests").rglob("*.py")):
        shared = [n for n in imported_names(file) if n.startswith("tests.") and ".test_" in n]
        assert shared == [], file


def test_files_stay_below_400_lines() -> None:
    assert {str(f): n for f in FILES if (n := len(f.read_text().splitlines())) > 400} == {}


def test_a_command_is_one_short_file() -> None:
    lengths = {f.name: len(f.read_text().splitlines()) for f in (ROOT / "bua/cli/commands").glob("*.py")}
    assert {name: n for name, n in lengths.items() if n > 125} == {}
