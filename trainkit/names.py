"""Choosing parameters by name patterns, with an error that helps when a pattern matches nothing."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from torch import nn

__all__ = ["matching", "nearest", "parameters_by_name"]


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
    """What to say after a wrong name: the nearest right ones, or the first few there are."""
    names = list(options)
    close = get_close_matches(name, names, n=3, cutoff=0.5) or names[:5]
    return ", ".join(close) if close else "(none)"


def matching(names: Sequence[str], patterns: Sequence[str], key: str) -> list[str]:
    """The names that match at least one of the patterns, in their own order.

    Args:
        names: To choose from.
        patterns: Of shell style, case-sensitive: `*` is any text, dots included.
        key: What the patterns are called in the error message.

    Raises:
        TypeError: The patterns are one string.
        ValueError: A pattern matches no name.

    Example:
        >>> matching(["stem.weight", "stem.bias", "head.weight"], ["*.weight"], "parameters")
        ['stem.weight', 'head.weight']
    """
    if isinstance(patterns, str):
        raise TypeError(f"{key} must be a list of patterns, got the string {patterns!r}")
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(
                f"{key}: no parameter matches {pattern!r}; nearest: {nearest(pattern, names)}"
            )
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
