"""Complete partials with run-time objects, by parameter name."""

import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any

__all__ = ["by_name", "check_complete", "complete", "described", "fill", "named_parameters_of"]


def complete(value: Any, available: Mapping[str, Any], key: str) -> Any:
    """The object itself, or what a `functools.partial` makes once it has what it waits for.

    A partial gets everything in `available` that its function names as a parameter and that is
    not bound yet. Partials among its arguments are completed too if all that they still need is
    available (parameter groups inside of an optimizer); others are left alone.

    Args:
        value: Anything.
        available: Run-time objects by name.
        key: Where in the config this is, for errors.

    Raises:
        TypeError: The function needs something else too, or refuses an argument's kind.
        ValueError: The function refuses an argument's value, or fails otherwise.

    Example:
        >>> complete(partial(pow, exp=2), {"base": 3, "mod": None}, "example")
        9
    """
    if not isinstance(value, partial):
        return value
    filled = fill(value, available, key)
    try:
        return filled()
    except MemoryError:
        raise
    except Exception as error:
        # Keep the type of the error, which callers distinguish; put the key in front.
        kind = TypeError if isinstance(error, TypeError) else ValueError
        text = str(error)
        if not isinstance(error, TypeError | ValueError | ImportError):
            text = f"{key}: {type(error).__name__}: {text}"
        raise kind(text if text.startswith(key) else f"{key}: {text}") from error


def fill(value: "partial[Any]", available: Mapping[str, Any], key: str) -> "partial[Any]":
    """The same partial with everything that it waits for; nothing is called but inner partials.

    Args:
        value: Waits.
        available: Run-time objects by name.
        key: Where in the config this is, for errors.

    Raises:
        TypeError: It needs something else too.
    """
    check_complete(value, available, key)
    given = {name: available[name] for name in named_parameters_of(value) if name in available}
    inner = {
        name: complete(argument, available, f"{key}.{name}")
        for name, argument in value.keywords.items()
        if _waits(argument, available)
    }
    return partial(value, **given, **inner)


def check_complete(value: "partial[Any]", available: Mapping[str, Any], key: str) -> None:
    """Check that everything that a partial waits for is available.

    Raises:
        TypeError: It needs something else too.
    """
    names = named_parameters_of(value)
    lacking = [name for name, required in names.items() if required and name not in available]
    if lacking:
        raise TypeError(
            f"{key}: {_name(value)} needs {', '.join(lacking)}, which is neither set nor known to "
            f"the run ({', '.join(sorted(available))})"
        )


def named_parameters_of(value: Any) -> dict[str, bool]:
    """Parameters that a partial has not bound and that can be given by name → required."""
    function = value.func if isinstance(value, partial) else value
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a builtin that does not tell
        return {}
    bound = dict(value.keywords) if isinstance(value, partial) else {}
    positional = len(value.args) if isinstance(value, partial) else 0
    names: dict[str, bool] = {}
    for i, (name, parameter) in enumerate(signature.parameters.items()):
        if i < positional or name in bound:
            continue
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            names[name] = parameter.default is parameter.empty
    return names


def by_name(value: Any, key: str) -> dict[str, Any]:
    """The parts of a mapping in a config; null takes one away.

    Raises:
        TypeError: It is no mapping.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(f"{key} must map names to objects, got {type(value).__name__}")
    return {str(name): item for name, item in value.items() if item is not None}


def described(value: Any) -> str:
    """What a value is, for an error that refuses it; of a class or function what would help.

    Example:
        >>> described(3), described(dict)
        ('int', 'the class dict itself; give dict(...), or functools.partial(dict, ...)')
    """
    if not (isinstance(value, type) or inspect.isroutine(value)):
        return type(value).__name__
    name = value.__name__
    what = "class" if isinstance(value, type) else "function"
    return f"the {what} {name} itself; give {name}(...), or functools.partial({name}, ...)"


def _waits(argument: Any, available: Mapping[str, Any]) -> bool:
    if not isinstance(argument, partial):
        return False
    required = [name for name, needed in named_parameters_of(argument).items() if needed]
    return bool(required) and all(name in available for name in required)


def _name(value: Any) -> str:
    function = value.func if isinstance(value, partial) else value
    return getattr(function, "__name__", type(function).__name__)
