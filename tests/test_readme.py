"""The README and the docs name existing commands, keys and files, and the numbers of the results."""

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module

import bua
from bua.cli.main import COMMANDS, FAMILIES, config_name
from tests.helpers.parity import ROOT

TEXT = (ROOT / "README.md").read_text()
DOCS = [path.read_text() for path in sorted((ROOT / "docs").glob("*.md"))]
CONSOLE = [
    line.removeprefix("$ ")
    for text in (TEXT, *DOCS)
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    for line in block.strip().splitlines()
]
BUA = [line for line in CONSOLE if line.startswith("bua ")]
#: Commands in the headers of configuration files, some of two lines.
HEADERS = [
    line
    for path in sorted((ROOT / "conf").glob("*/*.yaml"))
    for line in re.findall(r"^#   (bua .*)", path.read_text().replace("\\\n#", ""), re.MULTILINE)
]
MAKE = [line for line in CONSOLE if line.startswith("make ")]


def test_there_are_commands() -> None:
    assert len(BUA) >= 9
    assert len(BUA) + len(MAKE) == len(CONSOLE)
    assert len(HEADERS) > 20
    assert {"make demo", "make test"} <= set(MAKE)


@pytest.mark.parametrize("line", BUA + HEADERS)
def test_command_of_a_text_or_a_header_composes(line: str) -> None:
    _, command, *words = shlex.split(line)
    if command in FAMILIES:
        command, words = f"{command} {words[0]}", words[1:]
    assert command in COMMANDS
    if "-m" in words:
        words = [word.partition(",")[0] for word in words if word != "-m"]
    words = [f'{k}="{v}"' if " " in v else w for w in words for k, _, v in [w.partition("=")]]
    with initialize_config_module("bua.conf", version_base="1.3"):
        config = compose(config_name(command), words, return_hydra_config=True)
    for word in words:
        keys, node = word.split("=")[0].split("."), config
        for key in keys:
            assert key in node or (ROOT / "conf" / key).is_dir()
            node = node._get_node(key) if key in node else node


def test_modules_that_the_changelog_calls_new_exist() -> None:
    text = (ROOT / "CHANGELOG.md").read_text().partition("Modules:")[2].partition("Classes and functions:")[0]
    columns = [line.split("|")[2] for line in text.splitlines() if line.startswith("| `")]
    modules = []
    for names in (re.findall(r"`([\w.]+)`", column) for column in columns):
        package = names[0].rpartition(".")[0]
        modules += [name if name.startswith("bua.") else f"{package}.{name}" for name in names]
    assert len(modules) > 20
    for module in modules:
        importlib.import_module(module)


def test_all_detectors_and_selection_rules_are_documented() -> None:
    text = (ROOT / "docs/detectors.md").read_text()
    names = [p.stem for group in ("detector", "select") for p in (ROOT / "conf" / group).glob("*.yaml")]
    assert len(names) >= 12
    assert [name for name in names if f"`{name}`" not in text] == []


def test_all_captioners_searches_and_recipes_are_documented() -> None:
    text = (ROOT / "docs/captioners.md").read_text()
    models, searches = (sorted((ROOT / "conf" / group).glob("*.yaml")) for group in ("model", "decode"))
    published = [path for path in models if not path.stem.endswith("_small")]
    captioners = {path.stem for path in published if "bua.models.captioners." in path.read_text()}
    recipes = {
        path.stem
        for path in (ROOT / "conf/experiment").glob("*.yaml")
        if not path.stem.startswith(("vqa", "detector"))
    }
    assert (len(captioners), len(searches), len(recipes)) == (7, 8, 15)
    for name in captioners | {path.stem for path in searches} | recipes:
        assert f"`{name}`" in text, name


@pytest.mark.parametrize("line", MAKE)
def test_make_target_of_the_readme_exists(line: str) -> None:
    assert re.search(rf"^{line.split()[1]}:.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_make_alone_prints_every_target() -> None:
    done = subprocess.run(["make"], capture_output=True, text=True, cwd=ROOT, check=True)
    for target in ("demo", "test", "test-fast", "lint", "type", "wheel", "clean"):
        assert re.search(rf"^{target} ", done.stdout, re.MULTILINE)


def test_the_layout_lists_exactly_the_packages() -> None:
    tree = TEXT.split("```\nbua/")[1].split("```")[0]
    listed = set(re.findall(r"^  (\w+)/", tree, re.MULTILINE))
    packages = {p.name for p in (ROOT / "bua").iterdir() if p.is_dir() and (p / "__init__.py").exists()}
    assert listed == packages - {"conf", "__pycache__"}


def test_tables_agree_with_the_results() -> None:
    done = subprocess.run(
        [sys.executable, "experiments/readme.py", "--check"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_the_image_of_the_readme_exists() -> None:
    [path] = re.findall(r"!\[[^]]*\]\(([^)]+)\)", TEXT)
    assert (ROOT / path).stat().st_size > 10_000


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
PAGES += [
    page for name in ("docs", "examples", "experiments") for page in sorted((ROOT / name).rglob("*.md"))
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_paths_of_a_page_exist(page: Path) -> None:
    text = page.read_text()
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert [link for link in links if link and not (page.parent / link).exists()] == []
    paths = re.findall(r"`((?:bua|conf|docs|experiments|tests)/[\w./]+)`", text)
    if page.name != "CHANGELOG.md":  # which also names former paths
        assert [path for path in paths if "NAME" not in path and not (ROOT / path).exists()] == []


@pytest.mark.slow
def test_python_of_the_readme_runs(scenes, tmp_path, monkeypatch) -> None:
    from bua.cli import main

    features = tmp_path / "regions.h5"
    assert main(["extract", f"images={scenes}/images", f"out={features}"]) == 0
    for name, experiment in (("captioner", "caption_scenes"), ("vqa", "vqa_scenes")):
        overrides = [f"experiment={experiment}", f"scenes={scenes}", f"features={features}"]
        overrides += [f"out={tmp_path}/runs/{name}", "trainer.max_epochs=1"]
        assert main(["train", *overrides]) == 0
    (tmp_path / "photos").mkdir()
    photo = sorted((scenes / "images").iterdir())[0]
    (tmp_path / "photos" / "beach.jpg").write_bytes(photo.read_bytes())
    monkeypatch.chdir(tmp_path)
    [code] = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.strip().splitlines()) >= 4


def test_changelog_and_citation_name_the_version() -> None:
    assert f"## {bua.__version__}" in (ROOT / "CHANGELOG.md").read_text()
    assert f"version: {bua.__version__}" in (ROOT / "CITATION.cff").read_text()
    assert f'version = "{bua.__version__}"' in (ROOT / "pyproject.toml").read_text()


def test_constraints_are_exact_versions() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert len(pins) > 30
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", pin) for pin in pins)
