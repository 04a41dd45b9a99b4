"""``bua doctor``: show what is available on this machine."""

import os
import platform
import shutil
from dataclasses import dataclass
from importlib import metadata

import torch

from bua import __version__
from bua.metrics.java import java_version
from bua.metrics.spice import spice_missing

PACKAGES = (
    "torch",
    "torchvision",
    "pytorch-lightning",
    "hydra-core",
    "h5py",
    "nltk",
    "pillow",
    "pycocoevalcap",
)


@dataclass
class Options:
    """The command has no keys."""


def main(options: Options) -> None:
    """Print one line for everything that a run may depend on."""
    gpus = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    lines = {
        "bua": __version__,
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in PACKAGES},
        "cores": f"{os.cpu_count()}, torch uses {torch.get_num_threads()}",
        "GPUs": ", ".join(gpus) or "none; everything runs on the CPU",
        "Java": java_version() or "none: METEOR and the official tokenizer are not available",
        "SPICE": spice_missing() or "its models are installed",
        "free space": f"{shutil.disk_usage('.').free / 2**30:.1f} GiB in this folder",
    }
    for name, value in lines.items():
        print(f"{name:20} {value}")
