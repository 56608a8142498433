"""Every `_target_` of a config, checked before anything is built."""

import importlib
import inspect
import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from textwrap import shorten
from typing import Any, get_type_hints

from trainkit.config.annotations import accepts, described, takes_tensor
from trainkit.config.error_key import raised_in
from trainkit.config.errors import ConfigError, nearest
from trainkit.config.forbidden import check_allowed
from trainkit.config.origins import Origins
from trainkit.config.sources import shadowed_module
from trainkit.masking import masked

__all__ = ["check_targets", "locate"]

_SPECIAL = {"_target_", "_partial_", "_args_", "_convert_", "_recursive_"}
# Arguments with which a partial (`_partial_: true`) is completed.
_RUN_TIME = {"params", "model", "models", "optimizer", "optimizers", "loss_fn", "data", "device",
             "iterations", "iterations_per_epoch", "seed", "trainer", "evaluators"}  # fmt: skip


def check_targets(config: Mapping[str, Any], origins: Origins) -> list[str]:
    """Check that every `_target_` exists and takes the arguments that it is given.

    An argument that came with another target (`optimizer._target_=torch.optim.SGD` over the
    arguments of Adam) and that the new one does not take is taken out of the config.

    Args:
        config: Resolved, plain; changed in place.
        origins: Where each key was set.

    Returns:
        What was taken out, one line per node.

    Raises:
        ConfigError: A target does not exist or refuses an argument; the nearest right name is in
            the text.
    """
    told: list[str] = []
    for key, node in list(_nodes("", config)):
        target = node["_target_"]
        # Called only after an error, because it reads files.
        if not isinstance(target, str):
            where = origins.where(f"{key}._target_")
            raise ConfigError(f"{where}{key}._target_ must be a dotted name, got {target!r}")
        try:
            function = locate(target)
            check_allowed(target, function, node)
        except ConfigError as error:
            where = origins.where(f"{key}._target_")
            raise ConfigError(f"{where}{key}._target_: {error}") from error
        for switch in ("_partial_", "_recursive_"):
            if not isinstance(node.get(switch, False), bool):
                raise ConfigError(
                    f"{origins.where(f'{key}.{switch}')}{key}.{switch} must be true or false, "
                    f"got {node[switch]!r}"
                )
        lost = shadowed_module(target)
        if lost and lost not in told:
            told.append(lost)
        foreign = _check_arguments(key, target, function, node, origins)
        said = []
        if foreign:
            beside = "".join(_beside(key, name) for name in foreign)
            said.append(f"takes no {', '.join(foreign)}; left out{beside}")
        said += _inherited(key, node, origins)
        if said:
            told.append(f"{key}: {target} {'; '.join(said)}")
    return told


def _inherited(key: str, node: Mapping[str, Any], origins: Origins) -> list[str]:
    """The arguments that were meant for the target that another one has replaced."""
    older = {
        name: value
        for name, value in node.items()
        if name not in _SPECIAL and origins.older(f"{key}.{name}", f"{key}._target_")
    }
    if not older:
        return []
    by_place: dict[str, list[str]] = {}
    for name, value in older.items():
        place = re.sub(r":\d+: $", "", origins.where(f"{key}.{name}"))
        shown = name if _holds_node(value) else f"{name}={value}"
        by_place.setdefault(place, []).append(shown)
    kept = ", ".join(f"{', '.join(shown)} of {place}" for place, shown in by_place.items())
    return [masked(f"keeps {kept}")]


def locate(target: str) -> Any:
    """The object with this dotted name.

    Raises:
        ConfigError: There is none, or its module cannot be imported.
    """
    parts = target.split(".")
    if not all(part.isidentifier() for part in parts):
        raise ConfigError(f"{target!r} is no dotted name")
    if len(parts) == 1 and find_spec(target) is None:
        raise ConfigError(f"{target!r} lacks its module in front: write MODULE.{target}")
    found = _imported(parts[0], target)
    for i, part in enumerate(parts[1:], start=1):
        so_far = ".".join(parts[:i])
        # An attribute before a module: `trainkit.data.digits` is a function and a file.
        if not hasattr(found, part) and inspect.ismodule(found):
            if not hasattr(found, "__path__") or find_spec(f"{so_far}.{part}") is None:
                raise _no_such(so_far, part, found)
            found = _imported(f"{so_far}.{part}", target)
        elif not hasattr(found, part):
            raise _no_such(so_far, part, found)
        else:
            found = getattr(found, part)
    if not callable(found):
        raise ConfigError(f"{target} is not callable")
    return found


def _no_such(module: str, name: str, found: Any) -> ConfigError:
    lost = shadowed_module(module)
    mend = f"; {lost}" if lost else nearest(name, _public(found))
    return ConfigError(f"{module} has no {name!r}{mend}")


def _public(found: Any) -> list[str]:
    names = getattr(found, "__all__", None) or dir(found)
    return [name for name in names if not name.startswith("_")]


def _imported(name: str, target: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name:
            raise ConfigError(f"there is no module {name!r} (needed by {target})") from error
        raise ConfigError(f"importing {name} failed: {error}") from error
    except (Exception, SystemExit) as error:
        kind = type(error).__name__
        raise ConfigError(f"importing {name} failed: {kind}: {error}{raised_in(error)}") from error


def _nodes(key: str, value: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(value, dict):
        if "_target_" in value:
            yield key, value
        for name, inner in value.items():
            yield from _nodes(f"{key}.{name}" if key else str(name), inner)
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _nodes(f"{key}[{i}]", inner)


def _check_arguments(
    key: str, target: str, function: Any, node: dict[str, Any], origins: Origins
) -> list[str]:
    """Refuse what the function does not take; return what was taken out instead."""
    try:
        parameters: Mapping[str, inspect.Parameter] = inspect.signature(function).parameters
    except (TypeError, ValueError):  # a builtin without a signature
        return []
    if inspect.isclass(function) and function.__init__ is _module().__init__:
        parameters = {}  # torch's own function accepts any argument and raises later
    names = [
        name
        for name, p in parameters.items()
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    foreign = []
    given = [str(name) for name in node if name not in _SPECIAL]
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        for name in [name for name in given if name not in names]:
            if not origins.older(f"{key}.{name}", f"{key}._target_"):
                raise ConfigError(
                    f"{origins.where(f'{key}.{name}')}{key}.{name}: {target} takes no "
                    f"{name!r}{_beside(key, name) or nearest(name, names)}"
                )
            del node[name]
            foreign.append(name)
    _check_types(key, function, node, parameters, origins)
    if not node.get("_partial_") and not node.get("_args_"):
        lacking = [
            name for name in names if name not in given and parameters[name].default is _EMPTY
        ]
        if lacking:
            where = origins.where(f"{key}._target_")
            mend = f"set {key}.{lacking[0]}"
            if set(lacking) <= _RUN_TIME:
                mend = f"set {key}._partial_=true: the run has {', '.join(lacking)}"
            elif inspect.isfunction(function):
                mend += f", or {key}._partial_=true if it is to be called later"
            raise ConfigError(f"{where}{key}: {target} needs {', '.join(lacking)}; {mend}")
    return foreign


def _beside(key: str, name: str) -> str:
    """One loss in the place of all components may be meant as one of them."""
    if (key, name) != ("loss", "components"):
        return ""
    return "; beside other components it is loss.components.<name>.loss._target_"


_EMPTY = inspect.Parameter.empty


def _module() -> Any:
    from torch.nn import Module

    return Module


def _check_types(
    key: str,
    function: Any,
    node: dict[str, Any],
    parameters: Mapping[str, inspect.Parameter],
    origins: Origins,
) -> None:
    try:
        hints = get_type_hints(function.__init__ if inspect.isclass(function) else function)
    except Exception:  # annotations are user code; ignore one that cannot be read
        return
    for name, parameter in parameters.items():
        if name not in node or name not in hints:
            continue
        value, wanted = node[name], hints[name]
        # A default of the same kind shows that the annotation is incomplete.
        if _holds_node(value) or type(value) is type(parameter.default):
            continue
        if not accepts(wanted, value):
            numbers = takes_tensor(wanted) and not accepts(wanted, 1.0)  # class weights: [1, 5]
            if numbers and _is_numbers(value):
                node[name] = {"_target_": "torch.tensor", "data": _floats(value)}
                continue
            full = f"{key}.{name}"
            said = "null" if value is None else shorten(repr(value), 80)
            list_too = " (or a list of numbers)" if numbers else ""
            raise ConfigError(
                f"{origins.where(full)}{full} must be {described(wanted)}{list_too}, got {said}"
            )


def _is_numbers(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(map(_is_numbers, value))
    return isinstance(value, int | float) and not isinstance(value, bool)


def _floats(value: Any) -> Any:
    return [_floats(item) for item in value] if isinstance(value, list) else float(value)


def _holds_node(value: Any) -> bool:
    if isinstance(value, dict):
        return "_target_" in value or any(map(_holds_node, value.values()))
    return isinstance(value, list) and any(map(_holds_node, value))
