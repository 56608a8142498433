"""Find the config key that an error is about, if the error does not name it."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from traceback import extract_tb
from typing import Any

from trainkit.config.errors import ConfigError, one_line
from trainkit.config.origins import Origins
from trainkit.config.sources import relative

__all__ = ["blamed", "raised_in"]


def blamed(
    error: BaseException, config: Mapping[str, Any], origins: Origins, key: str = ""
) -> ConfigError:
    """The error with the key in front, and where that was set.

    torch says `Invalid learning rate: -1`: in the node that was being built, the one argument
    with that value is meant.

    Args:
        error: Raised by something that the config names.
        config: Resolved, plain.
        origins: Where each key was set.
        key: Of the node that was being built; by default what the text begins with.
    """
    text = one_line(error)
    component = re.match(r"(?:the )?loss component '(\w+)' ", text)
    if component:
        text = f"loss.components.{component[1]} {text[component.end() :]}"
    begins = re.match(r"((?:\w+)(?:[.\[]\w+\]?)*)(:?)(?= |$)", text)
    # A single word may be ordinary text; a key is followed by what it must be.
    sure = begins and ("." in begins[1] or begins[2] or text[begins.end() :].startswith(" must "))
    if begins and sure and _found(config, begins[1]):
        key = begins[1]
        text = text[begins.end() :].strip()
        joined = f"{key}{begins[2]} {text}"
    else:
        joined = f"{key}: {text}" if key else text
    node = _value(config, key) if key else None
    if isinstance(node, dict):
        suspects = origins.newest(
            [f"{key}.{name}" for name, value in _leaves(node) if _says(text, value)]
        )
        if len(suspects) == 1:
            key, joined = suspects[0], f"{suspects[0]}: {text}"
        elif not suspects:  # no value, but perhaps a name: `Nesterov momentum requires ...`
            words = {word.lower() for word in re.findall(r"\w+", text)}
            named = origins.newest([f"{key}.{name}" for name in node if str(name).lower() in words])
            key = named[0] if named else key
    elif key:  # of several keys in the text the one that was set last, by the user
        others = [word for word in re.findall(r"\w+(?:\.\w+)+", text) if _found(config, word)]
        key = (origins.newest([key, *others]) or [key])[0]
    if key and isinstance(_value(config, key), dict) and "_target_" in _value(config, key):
        where = origins.where(f"{key}._target_")
    else:
        where = origins.where(key) if key else ""
    return ConfigError(f"{where}{joined}{raised_in(error)}")


def _found(config: Mapping[str, Any], key: str) -> bool:
    try:
        _value(config, key)
    except KeyError:
        return False
    return True


def _value(config: Mapping[str, Any], key: str) -> Any:
    value: Any = config
    for part in key.replace("]", "").replace("[", ".").split("."):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            raise KeyError(key)
    return value


def _leaves(node: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Numbers and texts of a node, an item of a list under the list's own name."""
    for name, value in node.items():
        if name.startswith("_") or isinstance(value, bool):
            continue
        if isinstance(value, Mapping):
            yield from ((f"{name}.{inner}", leaf) for inner, leaf in _leaves(value))
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, int | float | str) and not isinstance(item, bool):
                yield name, item


def _says(text: str, value: float | str) -> bool:
    """Whether the text holds this number, or this text in quotes."""
    if isinstance(value, str):
        return f"'{value}'" in text or f'"{value}"' in text
    return re.search(rf"(?<![\w.-]){re.escape(str(value))}(?!\w|\.\d)", text) is not None


def raised_in(error: BaseException) -> str:
    """` (FILE:LINE)` of the user's own file that raised; nothing if it was not one."""
    while error.__cause__ is not None:
        error = error.__cause__
    for frame in reversed(extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        own = path.is_relative_to(Path.cwd()) and "site-packages" not in path.parts
        if own and "trainkit" not in path.parts:
            return f" ({relative(path)}:{frame.lineno})"
    return ""
