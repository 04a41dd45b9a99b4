"""Configurations as they are written: keys with their defaults and comments, read without Hydra.

The help of a command, completion in a shell and hints at similar keys read the YAML files of ``conf`` through
this module, which is much faster than importing Hydra. It follows Hydra's rules for defaults lists as far as
``conf`` uses them; ``tests/cli/test_configurations.py`` compares the keys with those that Hydra composes.
"""

import importlib.util
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bua.cli.text import did_you_mean
from bua.engine.trust import configuration_folders
from bua.errors import InputError

#: The parser of libyaml where there is one, which is ten times faster.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
#: Values that a comment lists first, such as "float16 or float32: type of the features".
_CHOICES = re.compile(r"((?:[\w.-]+, )*[\w.-]+ or [\w.-]+)(?=$|[:;])")
#: Keys that say what is built from the others.
_BUILDING = ("_target_", "_partial_")


@dataclass
class Key:
    """A key of a configuration.

    Attributes:
        value: Its default as it is written; empty if there are keys below it.
        comment: Comment behind it.
        below: Keys below it.
        target: Class that the keys below are arguments of; empty if there is none.
    """

    value: str = ""
    comment: str = ""
    below: dict[str, "Key"] = field(default_factory=dict)
    target: str = ""

    @property
    def choices(self) -> list[str]:
        """Values that the key can have, if it is a switch or its comment starts with a list of them."""
        if self.value in ("true", "false"):
            return ["true", "false"]
        match = _CHOICES.match(self.comment)
        return re.split(r", | or ", match[1]) if match else []


@dataclass(frozen=True)
class ConfigFile:
    """One file of ``conf``.

    Attributes:
        header: Lines of the comment at its top, without ``#``.
        defaults: Its defaults list.
        keys: Its own keys.
        package: Dotted key that its keys are below, as its header says; ``None`` if it does not.
    """

    header: list[str]
    defaults: list[Any]
    keys: dict[str, Key]
    package: str | None


@dataclass
class Composed:
    """A configuration that was composed for a command line.

    Attributes:
        keys: Its keys.
        groups: Groups with their chosen options, ``None`` for none; a group with a package of its own is
            named like ``decode@objective.decoder``.
        folders: Folders of the configuration.
    """

    keys: dict[str, Key]
    groups: dict[str, str | None]
    folders: Sequence[Path]

    def options(self, group: str) -> list[str]:
        """Return the names of the options of a group."""
        return list_options(self.folders, group)

    def find(self, path: str) -> Key | None:
        """Return the key of a dotted path, or ``None``."""
        keys, found = self.keys, None
        for name in path.split("."):
            found = keys.get(name)
            if found is None:
                return None
            keys = found.below
        return found

    def paths(self) -> list[str]:
        """Return the dotted paths of all keys, and the groups."""
        return [*self.groups, *(path for path, _ in walk(self.keys))]


def conf_folder() -> Path:
    """Return the folder of the configurations, which is part of an installed package."""
    spec = importlib.util.find_spec("bua.conf")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def walk(keys: dict[str, Key], prefix: str = "") -> Iterator[tuple[str, Key]]:
    """Yield the dotted path of every key, and the key."""
    for name, key in keys.items():
        yield f"{prefix}{name}", key
        yield from walk(key.below, f"{prefix}{name}.")


def list_options(folders: Iterable[Path], group: str) -> list[str]:
    """Return the names of the options of a group in all folders."""
    name = group.partition("@")[0]
    return sorted({file.stem for folder in folders for file in (folder / name).glob("*.yaml")})


def read_config_file(path: Path) -> ConfigFile:
    """Read one file.

    Raises:
        InputError: If it is not YAML.
    """
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    header = []
    for line in lines:
        if not line.startswith("#"):
            break
        header.append(line[2:] if line.startswith("# ") else line[1:])
    package = next((line.split()[1] for line in header if line.startswith("@package")), None)
    try:
        root = yaml.compose(text, Loader=_Loader)
        keys = _read_mapping(root, lines) if isinstance(root, yaml.MappingNode) else {}
        content = yaml.load(text, Loader=_Loader) if "defaults" in keys else {}  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise InputError(f"{path}: is not YAML: {error}") from None
    keys.pop("defaults", None)
    return ConfigFile(
        [x for x in header if not x.startswith("@")], content.get("defaults", []), keys, package
    )


def _read_mapping(node: yaml.MappingNode, lines: list[str]) -> dict[str, Key]:
    keys = {}
    for name, value in node.value:
        is_mapping = isinstance(value, yaml.MappingNode) and bool(value.value)
        is_block = isinstance(value, yaml.CollectionNode) and not value.flow_style
        end = name.end_mark if is_block else value.end_mark
        match = re.match(r"\W*?\s+#\s*(.*)", lines[end.line][end.column :]) if end.line < len(lines) else None
        key = Key(comment=match[1].strip() if match else "")
        if is_mapping:
            key.below = _read_mapping(value, lines)
            key.target = key.below["_target_"].value if "_target_" in key.below else ""
            key.below = {name: k for name, k in key.below.items() if name not in _BUILDING}
        else:
            key.value = _written(value)
        keys[str(name.value)] = key
    return keys


def _written(node: Any) -> str:
    """Return a value as it would be given on the command line."""
    if isinstance(node, yaml.ScalarNode):
        return str(node.value) or ("null" if node.style is None else "''")
    if isinstance(node, yaml.SequenceNode):
        return f"[{', '.join(_written(item) for item in node.value)}]"
    return "{" + ", ".join(f"{_written(k)}: {_written(v)}" for k, v in node.value) + "}"


@dataclass(frozen=True)
class _Entry:
    """An entry of a defaults list.

    Attributes:
        group: Group, with ``@`` and its package if that is given; empty for a file of no group.
        name: Name of the file; ``None`` for none.
        package: Package, if it is given.
    """

    group: str
    name: str | None
    package: str | None

    @property
    def key(self) -> str:
        return f"{self.group}@{self.package}" if self.package else self.group


class _Composer:
    """Follows the defaults lists from a primary configuration."""

    def __init__(self, folders: Sequence[Path], choices: dict[str, str | None]) -> None:
        self.folders, self.overrides = folders, dict(choices)
        self.files: dict[str, ConfigFile | None] = {}
        self.groups: dict[str, str | None] = {}
        self.keys: dict[str, Key] = {}

    def read(self, path: str) -> ConfigFile | None:
        if path not in self.files:
            found = next((f for folder in self.folders if (f := folder / f"{path}.yaml").is_file()), None)
            self.files[path] = read_config_file(found) if found else None
        return self.files[path]

    def expand(self, path: str, group: str, package: str | None) -> list[tuple[ConfigFile, str]]:
        """Return the files that a file stands for, in the order in which they are merged, with packages.

        Overrides of a file hold for all that comes before it, so its list is followed from the end.
        """
        file = self.read(path)
        if file is None:
            return []
        own = package if package is not None else file.package or group.replace("/", ".")
        own = "" if own == "_global_" else own
        entries = [entry for item in file.defaults for entry in _parse_entry(item, group, self.overrides)]
        if "_self_" not in entries:
            entries.append("_self_")
        parts: list[list[tuple[ConfigFile, str]]] = []
        for entry in reversed(entries):
            if isinstance(entry, str):
                parts.append([(file, own)])
            else:
                parts.append(self._follow(entry, group, package))
        return [part for parts_of_entry in reversed(parts) for part in parts_of_entry]

    def _follow(self, entry: _Entry, group: str, package: str | None) -> list[tuple[ConfigFile, str]]:
        if not entry.group or entry.group == group:  # a file beside this one, or without a group
            path = f"{group}/{entry.name}" if group else str(entry.name)
            return self.expand(path, group, package)
        name = self.overrides.get(entry.key, entry.name)
        self.groups[entry.key] = name
        if name is None:
            return []
        if name.startswith("["):  # several options of one group
            listed = [
                _Entry(entry.group, option.strip(" '\""), entry.package) for option in name[1:-1].split(",")
            ]
            return [part for one in listed for part in self._follow_option(one, one.name)]
        return self._follow_option(entry, name)

    def _follow_option(self, entry: _Entry, name: str | None) -> list[tuple[ConfigFile, str]]:
        if not name:
            return []
        path = f"{entry.group}/{name}"
        if self.read(path) is None and not entry.group.startswith("hydra/") and "${" not in name:
            options = list_options(self.folders, entry.group)
            raise InputError(describe_unknown_option(entry.key, name, options))
        return self.expand(path, entry.group, entry.package)


def describe_unknown_option(group: str, name: str, options: Sequence[str]) -> str:
    """Return one line about an option that a group does not have."""
    hint = did_you_mean(name, options)
    return f"there is no {group}={name}{hint or '; the options are ' + (', '.join(options) or 'none')}"


def _parse_entry(item: Any, group: str, overrides: dict[str, str | None]) -> list["_Entry | str"]:
    """Return an entry of a defaults list; that of an override is added to ``overrides`` instead."""
    if isinstance(item, str):
        return ["_self_"] if item == "_self_" else [_Entry("", item, None)]
    [(name, value)] = item.items()
    words = str(name).split()
    target, _, package = words[-1].partition("@")
    is_absolute = target.startswith("/") or not group
    full = target.lstrip("/") if is_absolute else f"{group}/{target}"
    option = None if value is None else str(value)
    entry = _Entry(full, option, package or None)
    if "override" in words:
        overrides.setdefault(entry.key, option)
        return []
    return [entry]


def _first_choice(value: str) -> str:
    """Return the first of the values of a sweep; a list in brackets is one value."""
    return value[: value.index("]") + 1] if value.startswith("[") and "]" in value else value.split(",")[0]


def compose_keys(name: str, words: Sequence[str] = (), folders: Sequence[Path] = ()) -> Composed:
    """Compose the configuration of a command as far as its keys go; the values of ``words`` are not applied.

    Args:
        name: Name of the configuration.
        words: Words of the command line, of which those that choose the options of groups matter.
        folders: Further folders of configurations, as given by ``--config-dir``.

    Raises:
        InputError: If an option of a group does not exist, or a file is not YAML.
    """
    folders = [conf_folder(), *configuration_folders(), *folders]
    pairs = [(word.partition("=")[0], word.partition("=")[2]) for word in words if "=" in word]
    choices = {
        key.lstrip("+"): None if value in ("null", "") else _first_choice(value.strip("'\""))
        for key, value in pairs
        if "." not in key.partition("@")[0] and list_options(folders, key.lstrip("+"))
    }
    composer = _Composer(folders, choices)
    files = composer.expand(name, "", "_global_")
    for key, value in choices.items():
        if key not in composer.groups:
            group, _, package = key.partition("@")
            files += composer._follow(_Entry(group, value, package or None), "", None)
    for file, package in files:
        _merge(composer.keys, _below(file.keys, package))
    composer.keys.pop("hydra", None)
    groups = {group: composer.groups[group] for group in reversed(composer.groups)}
    return Composed(composer.keys, {k: v for k, v in groups.items() if not k.startswith("hydra/")}, folders)


def _below(keys: dict[str, Key], package: str) -> dict[str, Key]:
    """Return the keys of a file below its package."""
    if not package:
        return keys
    target = keys["_target_"].value if "_target_" in keys else ""
    top = Key(below={name: key for name, key in keys.items() if name not in _BUILDING}, target=target)
    *parents, last = package.split(".")
    nested = {last: top}
    for name in reversed(parents):
        nested = {name: Key(below=nested)}
    return nested


def _merge(keys: dict[str, Key], more: dict[str, Key]) -> None:
    for name, key in more.items():
        if name not in keys:
            keys[name] = Key()
        mine = keys[name]
        mine.comment = key.comment or mine.comment
        mine.target = key.target or mine.target
        if key.below:
            mine.value = ""
            _merge(mine.below, key.below)
        elif key.value:
            mine.value, mine.below = key.value, {}
