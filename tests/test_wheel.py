"""The wheel is complete when it is installed into a fresh environment outside the checkout."""

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.helpers.parity import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)],
        check=True,
        capture_output=True,
    )
    return next(out.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_holds_configurations_and_weights_but_no_tests(wheel) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for path in (ROOT / "conf").rglob("*.yaml"):
        assert f"bua/conf/{path.relative_to(ROOT / 'conf')}" in names
    assert "bua/detectors/weights/scenes_fpn.safetensors" in names
    assert not [n for n in names if n.startswith(("tests", "experiments", "conf"))]


@pytest.mark.slow
def test_the_wheel_works_in_a_fresh_environment(wheel, tmp_path) -> None:
    """A path file provides the dependencies of this environment, but not the checkout itself."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    python = venv / "bin" / "python"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
    ]
    subprocess.run([*pip, str(wheel)], check=True)
    inside = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    )
    Path(inside.stdout.strip(), "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def bua(*words: str) -> str:
        done = subprocess.run(
            [str(venv / "bin" / "bua"), *words], capture_output=True, text=True, cwd=tmp_path, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = subprocess.run(
        [python, "-c", "import bua; print(bua.__file__)"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    assert where.stdout.startswith(str(venv))
    assert "quickstart" in bua("--help")
    assert "bua.tasks.captioning.CaptionCrossEntropyTask" in bua(
        "train", "experiment=caption_scenes", "--cfg", "job"
    )
    bua("scenes", "out=s", "train=2", "val=0", "test=0", "novel=0", "num_workers=1")
    assert "2 images" in bua("extract", "images=s/images", "out=r.h5", "num_workers=0")
