"""`trainkit help KEY`: what a key of the config means."""

import re
import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from trainkit.cli.failure import UsageError
from trainkit.screen.terminal import width_of

if TYPE_CHECKING:
    from trainkit.config.preview import Shown

__all__ = ["main", "rows"]

_HELP = """\
usage: trainkit help KEY [GROUP=OPTION ...]
       trainkit help GROUP
       trainkit help COMMAND

What a key of the config means, what it holds by default, and where that is set:

    trainkit help trainer.clip_grad_norm
    trainkit help optimizer.momentum optimizer=sgd
"""


def main(arguments: Sequence[str]) -> int:
    """Explain a key, or a group.

    Raises:
        UsageError: There is no key among the arguments, or several.
        ConfigError: There is no such key.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_HELP)
        return 0
    keys = [word for word in arguments if "=" not in word and not word.startswith(("+", "-"))]
    if len(keys) != 1:
        raise UsageError(f"help takes one key, got {' '.join(arguments)}; see trainkit help --help")
    from trainkit.config.preview import look_up

    overrides = [word for word in arguments if word not in keys]
    print("\n".join(_lines(keys[0], look_up(overrides))))
    return 0


def _lines(key: str, shown: "Shown") -> list[str]:
    from trainkit.config.errors import ConfigError
    from trainkit.config.hydra_errors import nearest_key
    from trainkit.config.preview import look_up, options_with
    from trainkit.config.sources import experiments, first_line, groups

    about: list[str] = []
    if key == "experiment":
        names = {source.name: first_line(source.path) for source in experiments()}
        head = "A named choice of options and values: trainkit run +experiment=NAME"
        return [key, *_wrapped(head), "", *_pairs(names)]
    members = groups()
    if key not in shown.names():
        options = options_with(key) if "." in key else []
        if options:
            shown = look_up(options[:1])
            about = _wrapped(f"with {', '.join(options)}; not in the default config")
        elif key in members:
            names = {source.name: first_line(source.path) for source in members[key]}
            return [key, "", *_pairs(names)]
        else:
            near = nearest_key(key, [*shown.names(), "experiment"], members)
            raise ConfigError(f"there is no key {key!r}{near}")
    value = shown.value(key)
    lines = [key, *_explained(key, shown), *about]
    if key in members:
        names = {source.name: first_line(source.path) for source in members[key]}
        lines += ["", f"options (trainkit run {key}=OPTION)", *_pairs(names)]
    if isinstance(value, dict):
        inner = rows(key, shown)
        return [*lines, "", "keys", *inner] if inner else lines
    where = shown.origins.where(key).removesuffix(": ")
    lines.append(f"  default   {_written(value)}" + (f"  ({where})" if where else ""))
    return lines


def _explained(key: str, shown: "Shown") -> list[str]:
    from trainkit.config.key_docs import meaning

    found = meaning(key, shown.config)
    lines = _wrapped(found.text or "Nobody has written what it means.")
    if found.kind and found.kind != "Any":
        lines.append(f"  type      {found.kind}")
    if found.owner:
        lines.append(f"  taken by  {found.owner}")
    return lines


def rows(key: str, shown: "Shown") -> list[str]:
    """A line for each key below this one: its value, and what it means."""
    from trainkit.config.key_docs import meaning

    value = shown.value(key)
    leaves = [
        k for k in shown.names() if k.startswith(f"{key}.") and not isinstance(shown.value(k), dict)
    ]
    if not isinstance(value, dict) or not leaves:
        return []
    names = [f"{leaf}={_written(shown.value(leaf))}" for leaf in leaves]
    lines: list[str] = []
    for leaf, name in zip(leaves, names, strict=True):
        lines.append(f"  {name}")
        text = meaning(leaf, shown.config).text
        if text and not leaf.endswith(("_target_", "_partial_")):
            first = re.split(r"(?<=[a-z`)])\. ", text)[0].rstrip(".")
            lines += [f"    {line}" for line in textwrap.wrap(first, _width() - 4)]
    return lines


def _pairs(names: dict[str, str]) -> list[str]:
    width = min(max(map(len, names), default=0), 30)
    return [f"  {name:<{width}}  {text}".rstrip() for name, text in names.items()]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _width(), initial_indent="  ", subsequent_indent="  ")


def _width() -> int:
    return max(width_of(sys.stdout) or 80, 40)


def _written(value: Any) -> str:
    if isinstance(value, str):
        return value if value else "''"
    return (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )
