"""Small captioners for the tests of commands, and the commands that train them."""

from pathlib import Path

from tests.helpers.commands import run_ok

SMALL = ["model.word_size=8", "model.hidden_size=12", "trainer.max_epochs=1", "trainer.accelerator=cpu"]


def training(scenes: Path, run: Path, *more: str) -> list[str]:
    """Return the command that trains a small captioner by cross-entropy."""
    return ["train", "experiment=caption_scenes", f"scenes={scenes}", f"out={run}", *SMALL, *more]


def train_captioners(scenes: Path, out: Path) -> Path:
    """Train two captioners by cross-entropy, and one of them further by rewards."""
    run_ok(*training(scenes, out / "xe", "model.attention_size=6"))
    run_ok(*training(scenes, out / "mean", "model=mean_pooled"))
    run_ok(*reward_training(scenes, out / "scst", out / "xe"))
    return out


def reward_training(scenes: Path, run: Path, start: Path, *more: str) -> list[str]:
    """Return the command that trains a captioner further by rewards."""
    objective = ["objective=self_critical", f"init_from={start}", "optimizer.lr=1e-3", "scheduler=constant"]
    return training(scenes, run, "model.attention_size=6", *objective, *more)
