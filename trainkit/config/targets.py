"""Every `_target_` of a config, checked before anything is built."""

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from typing import Any

from trainkit.config.errors import ConfigError, nearest

__all__ = ["check_targets", "locate"]

_SPECIAL = {"_target_", "_partial_", "_args_", "_convert_", "_recursive_"}


def check_targets(config: Mapping[str, Any], where: Callable[[str], str]) -> None:
    """Check that every `_target_` exists and takes the arguments that it is given.

    Args:
        config: Resolved, plain.
        where: Key → where it was set, for the message.

    Raises:
        ConfigError: One does not; the nearest right name is in the text.
    """
    for key, node in _nodes("", config):
        target = node["_target_"]
        if not isinstance(target, str):
            raise ConfigError(f"{where(key)}{key}._target_ must be a dotted name, got {target!r}")
        try:
            function = locate(target)
        except ConfigError as error:
            raise ConfigError(f"{where(f'{key}._target_')}{key}._target_: {error}") from error
        _check_arguments(key, target, function, node, where)


def locate(target: str) -> Any:
    """The object with this dotted name.

    Raises:
        ConfigError: There is none, or its module cannot be imported.
    """
    parts = target.split(".")
    if not all(part.isidentifier() for part in parts):
        raise ConfigError(f"{target!r} is no dotted name")
    found = _imported(parts[0], target)
    for i, part in enumerate(parts[1:], start=1):
        so_far = ".".join(parts[:i])
        # An attribute before a module: `trainkit.data.digits` is a function and a file.
        if not hasattr(found, part) and inspect.ismodule(found):
            if not hasattr(found, "__path__") or find_spec(f"{so_far}.{part}") is None:
                names = [name for name in dir(found) if not name.startswith("_")]
                raise ConfigError(f"{so_far} has no {part!r}{nearest(part, names)}")
            found = _imported(f"{so_far}.{part}", target)
        elif not hasattr(found, part):
            names = [name for name in dir(found) if not name.startswith("_")]
            raise ConfigError(f"{so_far} has no {part!r}{nearest(part, names)}")
        else:
            found = getattr(found, part)
    if not callable(found):
        raise ConfigError(f"{target} is not callable")
    return found


def _imported(name: str, target: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name:
            raise ConfigError(f"there is no module {name!r} (needed by {target})") from error
        raise ConfigError(f"importing {name} failed: {error}") from error
    except Exception as error:
        raise ConfigError(f"importing {name} failed: {type(error).__name__}: {error}") from error


def _nodes(key: str, value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(value, Mapping):
        if "_target_" in value:
            yield key, value
        for name, inner in value.items():
            yield from _nodes(f"{key}.{name}" if key else str(name), inner)
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _nodes(f"{key}[{i}]", inner)


def _check_arguments(
    key: str,
    target: str,
    function: Any,
    node: Mapping[str, Any],
    where: Callable[[str], str],
) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a builtin that does not tell
        return
    parameters = signature.parameters
    names = [
        name
        for name, p in parameters.items()
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    given = [str(name) for name in node if name not in _SPECIAL]
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        for name in given:
            if name not in names:
                raise ConfigError(
                    f"{where(f'{key}.{name}')}{key}.{name}: {target} takes no "
                    f"{name!r}{nearest(name, names)}"
                )
    if node.get("_partial_") or node.get("_args_"):
        return
    lacking = [n for n in names if parameters[n].default is inspect.Parameter.empty]
    lacking = [name for name in lacking if name not in given]
    if lacking:
        raise ConfigError(f"{key}: {target} needs {', '.join(lacking)}; set {key}.{lacking[0]}")
