"""Find where a key of a composed config was set: command line, or line of a file."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from trainkit.config.sources import Source

__all__ = ["COMMAND_LINE", "Origins", "defaults_of", "line_of"]

COMMAND_LINE = "on the command line"


@dataclass(frozen=True)
class _Origin:
    """Args: layer: what is higher wins; shown: for a message."""

    layer: int
    shown: str


class Origins:
    """Where keys were set, for messages that say so.

    Three layers, of which the last that names a key has set it: the options' files, the
    experiment's file, the command line.

    Args:
        overrides: Of the command line.
        choices: Group (or group@package) → chosen option.
        groups: Group → its options.
        experiments: Every experiment.
        replaced: Groups of which the experiment's settings do not count.
    """

    def __init__(
        self,
        overrides: Sequence[str],
        choices: Mapping[str, str],
        groups: Mapping[str, Sequence[Source]],
        experiments: Sequence[Source],
        replaced: Sequence[str] = (),
    ) -> None:
        self._overrides = [override.lstrip("+~").partition("=")[0] for override in overrides]
        self._choices = choices
        self._groups = groups
        self._experiments = experiments
        self._replaced = replaced

    def where(self, key: str) -> str:
        """`FILE:LINE: `, `on the command line: ` or nothing, to put in front of a message."""
        origin = self._origin(key)
        return f"{origin.shown}: " if origin else ""

    def older(self, key: str, than: str) -> bool:
        """Whether `key` was set in a layer below the one that set `than`."""
        one, other = self._origin(key), self._origin(than)
        return one is not None and other is not None and one.layer < other.layer

    def newest(self, keys: Sequence[str]) -> list[str]:
        """Those keys that were set in the highest layer."""
        layers = {key: origin.layer for key in keys if (origin := self._origin(key))}
        return [key for key in layers if layers[key] == max(layers.values())]

    def _origin(self, key: str) -> _Origin | None:
        path = key.replace("]", "").replace("[", ".").split(".")
        key = ".".join(path)
        for override in self._overrides:
            if "/" in override or override.partition("@")[0] in self._groups:
                continue
            if f"{key}.".startswith(f"{override}.") or override.startswith(f"{key}."):
                return _Origin(2, COMMAND_LINE)
        counts = path[0] not in self._replaced
        for source in self._files("experiment", self._experiments) if counts else ():
            line = line_of(source.path, path)
            if line:
                return _Origin(1, f"{source.shown}:{line}")
        for choice in self._choices:
            group, _, package = choice.partition("@")
            inside = (package or group.replace("/", ".")).split(".")
            if path[: len(inside)] != inside:
                continue
            for source in self._files(choice, self._groups.get(group, ())):
                line = line_of(source.path, path[len(inside) :])
                if line:
                    return _Origin(0, f"{source.shown}:{line}")
        return None

    def _files(self, choice: str, sources: Sequence[Source]) -> Iterator[Source]:
        """The chosen file, then those that its defaults list begins with, nearest first."""
        by_name = {source.name: source for source in sources}
        waiting = [by_name.get(self._choices.get(choice, ""))]
        seen: set[Path] = set()
        while waiting:
            source = waiting.pop()
            if source is None or source.path in seen or not source.path.exists():
                continue
            seen.add(source.path)
            yield source
            # A file whose name begins with `_` is not an option but a part of other options.
            waiting += [
                by_name.get(name, replace(source, path=source.path.with_name(f"{name}.yaml")))
                for name in defaults_of(source.path)
                if isinstance(name, str)
            ]


def defaults_of(file: Path) -> list[object]:
    """The items of a YAML file's defaults list; none where it cannot be read."""
    try:
        value = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        return []
    found = value.get("defaults", []) if isinstance(value, dict) else []
    return found if isinstance(found, list) else []


def line_of(file: Path, path: Sequence[str]) -> int:
    """The line of a YAML file that sets this key; 0 if none does.

    Args:
        file: To be read.
        path: The key, in parts; a number is an index of a list.
    """
    try:
        node = yaml.compose(file.read_text(encoding="utf-8"), yaml.SafeLoader)
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        return 0
    line = 1
    for part in path:
        if isinstance(node, yaml.MappingNode):
            items = {key.value: (key, value) for key, value in node.value}
            if part not in items:
                return 0
            key, node = items[part]
            line = key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and part.isdigit() and int(part) < len(node.value):
            node = node.value[int(part)]
            line = node.start_mark.line + 1
        else:
            return 0
    return line
