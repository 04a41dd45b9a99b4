"""``bua train run=DIR resume=true``: a run goes on with its own options, none of which is typed again."""

import re
from collections.abc import Sequence

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from bua.cli.configurations import conf_folder
from bua.engine.run_directory import RunDirectory
from bua.errors import InputError

#: Name under which Hydra finds the configuration of the run.
NAME = "resumed_run"
#: Groups and keys that may be given when a run goes on; everything else is that of the run.
GROUPS = ("logger", "callbacks")
_FREE = re.compile(
    r"(trainer|logger|callbacks|hydra)\.|(run|resume|compile|trust|data\.num_workers|logger|callbacks)$"
)


def stored_run(words: Sequence[str]) -> str | None:
    """Make the configuration of a run that is to be resumed known to Hydra.

    Args:
        words: Overrides of the command line.

    Returns:
        The name of the configuration, or ``None`` if the words name no run.

    Raises:
        InputError: If the run does not exist, or an override would change what a run must keep.
    """
    values = {word.partition("=")[0]: word.partition("=")[2] for word in words}
    path = values.get("run", "null").strip("'\"")
    if path in ("null", ""):
        return None
    if values.get("resume", "").lower() != "true":
        raise InputError(f"run={path}: continues a run; add resume=true (init_from= starts from its weights)")
    if "--multirun" in words:
        raise InputError(f"run={path}: is one run; bua sweep resume continues a sweep")
    for word in words:
        key = word.lstrip("+~").partition("=")[0]
        if not word.startswith("-") and not _FREE.match(key):
            raise InputError(
                f"{word}: {path} has its own {key}; only trainer., callbacks, logger, compile and "
                "data.num_workers may be given with run="
            )
    run = RunDirectory(path)
    if not (run.path / "status.json").exists():
        raise InputError(f"run={path}: holds no run to resume")
    config = run.config()
    config |= {"out": str(run.path.absolute()), "run": None, "resume": False}
    chosen = [group for group in GROUPS if group in values]
    config |= {group: {} for group in chosen}  # replaced as a whole
    defaults = ["_self_", *({group: "default"} for group in chosen)]
    hydra = OmegaConf.load(conf_folder() / "train.yaml").hydra
    node = OmegaConf.create({"defaults": defaults, **config, "hydra": hydra})
    ConfigStore.instance().store(NAME, node)
    return NAME
