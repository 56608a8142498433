"""Choose parameters and modules by name; the errors name the nearest right names.

Every include and exclude uses `matches`: of monitors, of parameter groups and of configs.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from trainkit.nearest import closest

__all__ = [
    "Patterns", "Selection", "matches", "matching", "nearest", "parameters_by_name", "selected",
    "unmatched",
]  # fmt: skip

#: A pattern, several, or a function of a name; and the same per model.
Patterns = str | Sequence[str] | Callable[[str], Any]
Selection = Patterns | Mapping[str, Patterns]

_WILD = frozenset("*?[")


def matches(name: str, pattern: str) -> bool:
    """Whether a dotted name matches a pattern.

    A pattern is a shell pattern, case-sensitive; `*` is any text, dots included. One without `*`,
    `?` and `[` also matches everything below the name that it spells; one that ends in a dot
    matches everything below, and not the name itself.

    Example:
        >>> [matches("encoder.0.bias", p) for p in ("*.bias", "encoder", "encoder.", "enc*.0.")]
        [True, True, True, True]
        >>> [matches("encoder.0.bias", p) for p in ("enc", "bias", "encoder.1", "encoder.?")]
        [False, False, False, False]
    """
    if pattern.endswith("."):
        return fnmatchcase(name, f"{pattern}*")
    if _WILD.isdisjoint(pattern):
        return name == pattern or name.startswith(f"{pattern}.")
    return fnmatchcase(name, pattern)


def selected(
    names: Sequence[str], include: Selection = ("*",), exclude: Selection = ()
) -> list[str]:
    """The names that `include` takes and `exclude` does not, in order.

    Args:
        names: Dotted names of parameters or modules; of several models `<model>.<name>`.
        include: A pattern (see `matches`), several, or a function that is called with a name. Or a
            mapping from model to these: names are then those within the model, and of a model
            that it does not mention all are taken.
        exclude: Likewise; of a model that it does not mention none is left out.

    Raises:
        TypeError: They are something else.

    Example:
        >>> selected(["stem.weight", "stem.bias", "head.weight"], exclude=["*.bias", "head"])
        ['stem.weight']
        >>> selected(["a.weight", "a.bias", "b.bias"], include={"a": str.isupper})
        ['b.bias']
    """
    takes, leaves = _chooser("include", include, True), _chooser("exclude", exclude, False)
    return [name for name in names if takes(name) and not leaves(name)]


def unmatched(
    names: Sequence[str], patterns: Patterns, thing: str = "parameter or module"
) -> Iterator[str]:
    """A line for each pattern that matches none of the names, with the nearest names.

    Example:
        >>> list(unmatched(["stem.weight", "stem.bias"], "*.wieght", "parameter"))
        ["no parameter matches '*.wieght'; nearest: stem.weight"]
    """
    if callable(patterns):
        if not any(map(patterns, names)):
            yield f"the function chooses no {thing}, e.g. not {', '.join(names[:2])}"
        return
    for pattern in _patterns(patterns):
        if not any(matches(name, pattern) for name in names):
            yield f"no {thing} matches {pattern!r}; nearest: {nearest(pattern, names)}"


def parameters_by_name(model: nn.Module | Mapping[str, nn.Module]) -> dict[str, nn.Parameter]:
    """Every parameter once, under its first name; of several models as `<model>.<parameter>`."""
    if isinstance(model, nn.Module):
        return dict(model.named_parameters())
    named: dict[str, nn.Parameter] = {}
    seen: set[int] = set()
    for prefix, module in model.items():
        for name, parameter in module.named_parameters():
            if id(parameter) not in seen:
                seen.add(id(parameter))
                named[f"{prefix}.{name}"] = parameter
    return named


def nearest(name: str, options: Iterable[str]) -> str:
    """The text after a wrong name: the nearest right names, or else the first few."""
    names = list(filter(None, options))
    close = closest(name, names) or names[:5]
    return ", ".join(close) if close else "(none)"


def matching(names: Sequence[str], patterns: str | Sequence[str], key: str) -> list[str]:
    """The names that match at least one of the patterns, in their own order.

    Args:
        names: To choose from.
        patterns: One or several: see `matches`.
        key: What the patterns are called in the error message.

    Raises:
        TypeError: A pattern is no text.
        ValueError: A pattern matches no name.

    Example:
        >>> matching(["stem.weight", "stem.bias", "head.weight"], ["*.weight"], "parameters")
        ['stem.weight', 'head.weight']
    """
    found = _patterns(patterns)
    for pattern in found:
        if not isinstance(pattern, str):
            raise TypeError(f"{key} must hold patterns of names, got {pattern!r}")
    for line in unmatched(names, found, "parameter"):
        raise ValueError(f"{key}: {line}")
    return [name for name in names if any(matches(name, pattern) for pattern in found)]


def _chooser(key: str, selection: Any, default: bool) -> Callable[[str], bool]:
    if isinstance(selection, Mapping):
        within = {f"{m}.": _chooser(key, patterns, default) for m, patterns in selection.items()}

        def of_model(name: str) -> bool:
            for start, chooses in within.items():
                if name.startswith(start):
                    return chooses(name.removeprefix(start))
            return default

        return of_model
    if callable(selection):
        return lambda name: bool(selection(name))
    try:
        patterns = _patterns(selection)
    except TypeError:
        patterns = [selection]
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise TypeError(
                f"{key} must be a pattern, a list of patterns, a function of a name, or a mapping "
                f"from model to these, got {selection!r:.80}"
            )
    return lambda name: any(matches(name, pattern) for pattern in patterns)


def _patterns(patterns: Any) -> list[Any]:
    return [patterns] if isinstance(patterns, str) else list(patterns)
