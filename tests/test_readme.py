"""The commands of the README and of docs are those that there are, and its numbers those of the results."""

import re
import shlex
import subprocess
import sys

import pytest
from hydra import compose, initialize_config_module

import bua
from bua.cli.usage import COMMANDS, FAMILIES
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
#: The commands in the heads of experiments and of data, some of two lines.
HEADS = [
    line
    for path in sorted((ROOT / "conf").glob("*/*.yaml"))
    for line in re.findall(r"^#   (bua .*)", path.read_text().replace("\\\n#", ""), re.MULTILINE)
]
MAKE = [line for line in CONSOLE if line.startswith("make ")]


def test_there_are_commands() -> None:
    assert len(BUA) >= 9
    assert len(BUA) + len(MAKE) == len(CONSOLE)
    assert len(HEADS) > 20
    assert {"make demo", "make test"} <= set(MAKE)


@pytest.mark.parametrize("line", BUA + HEADS)
def test_command_of_the_readme_or_of_a_head_composes(line: str) -> None:
    _, name, *words = shlex.split(line)
    if name in FAMILIES:
        name, words = f"{name}_{words[0]}", words[1:]
    assert name in COMMANDS
    words = [f'{k}="{v}"' if " " in v else w for w in words for k, _, v in [w.partition("=")]]
    with initialize_config_module("bua.conf", version_base="1.3"):
        config = compose(name, words)
    for word in words:
        keys, node = word.split("=")[0].split("."), config
        for key in keys:
            assert key in node or (ROOT / "conf" / key).is_dir()
            node = node._get_node(key) if key in node else node


def test_every_detector_and_every_selection_rule_is_documented() -> None:
    text = (ROOT / "docs/detectors.md").read_text()
    found = [p.stem for group in ("detector", "select") for p in (ROOT / "conf" / group).glob("*.yaml")]
    assert len(found) >= 12
    assert [name for name in found if f"`{name}`" not in text] == []


def test_every_captioner_every_decoding_and_every_recipe_is_documented() -> None:
    text = (ROOT / "docs/captioners.md").read_text()
    models, decodings = (sorted((ROOT / "conf" / group).glob("*.yaml")) for group in ("model", "decode"))
    large = [path for path in models if not path.stem.endswith("_small")]
    captioners = {path.stem for path in large if "bua.models.captioners." in path.read_text()}
    recipes = {
        path.stem
        for path in (ROOT / "conf/experiment").glob("*.yaml")
        if not path.stem.startswith(("vqa", "detector"))
    }
    assert (len(captioners), len(decodings), len(recipes)) == (7, 7, 15)
    for name in captioners | {path.stem for path in decodings} | recipes:
        assert f"`{name}`" in text, name


@pytest.mark.parametrize("line", MAKE)
def test_target_of_the_readme_is_in_the_makefile(line: str) -> None:
    assert re.search(rf"^{line.split()[1]}:.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_make_alone_prints_every_target() -> None:
    done = subprocess.run(["make"], capture_output=True, text=True, cwd=ROOT, check=True)
    for target in ("demo", "test", "test-fast", "lint", "type", "wheel", "clean"):
        assert re.search(rf"^{target} ", done.stdout, re.MULTILINE)


def test_every_folder_of_the_tree_is_there_and_the_other_way_round() -> None:
    tree = TEXT.split("```\nbua/")[1].split("```")[0]
    named = set(re.findall(r"^  (\w+)/", tree, re.MULTILINE))
    there = {p.name for p in (ROOT / "bua").iterdir() if p.is_dir() and (p / "__init__.py").exists()}
    assert named == there - {"conf", "__pycache__"}


def test_tables_are_made_from_the_results() -> None:
    done = subprocess.run(
        [sys.executable, "experiments/readme.py", "--check"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_the_picture_is_there() -> None:
    for path in re.findall(r"!\[[^]]*\]\(([^)]+)\)", TEXT):
        assert (ROOT / path).stat().st_size > 10_000


@pytest.mark.slow
def test_python_of_the_readme_runs(scenes, tmp_path, monkeypatch) -> None:
    from bua.cli import main

    for name in ("captioner", "vqa"):
        experiment = {"captioner": "caption_scenes", "vqa": "vqa_scenes"}[name]
        features = tmp_path / "regions.h5"
        assert main(["extract", f"images={scenes}/images", f"out={features}"]) == 0
        assert (
            main(
                [
                    "train",
                    f"experiment={experiment}",
                    f"scenes={scenes}",
                    f"features={features}",
                    f"out={tmp_path}/runs/{name}",
                    "trainer.max_epochs=1",
                ]
            )
            == 0
        )
    (tmp_path / "photos").mkdir()
    photo = sorted((scenes / "images").iterdir())[0]
    (tmp_path / "photos" / "beach.jpg").write_bytes(photo.read_bytes())
    monkeypatch.chdir(tmp_path)
    [code] = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.strip().splitlines()) >= 4


def test_changelog_and_citation_know_the_version() -> None:
    assert f"## {bua.__version__}" in (ROOT / "CHANGELOG.md").read_text()
    assert f"version: {bua.__version__}" in (ROOT / "CITATION.cff").read_text()
    assert f'version = "{bua.__version__}"' in (ROOT / "pyproject.toml").read_text()


def test_constraints_name_versions_and_nothing_else() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert len(pins) > 30
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", pin) for pin in pins)
