"""Mistakes in a config that the user can mend, said on one line."""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

__all__ = ["ConfigError", "nearest", "noted", "one_line"]


class ConfigError(Exception):
    """A mistake in a config; its text is one line that says where it is and what to do."""


def nearest(name: str, options: Iterable[str]) -> str:
    """`; did you mean ...?` with the nearest right names, or the choice, or nothing.

    Example:
        >>> nearest("epoch", ["epochs", "seed"])
        '; did you mean epochs?'
        >>> nearest("x", ["epochs", "seed"])
        '; there is epochs, seed'
    """
    # By the last part: `trainer.` in front would make every key there look near.
    names = {option.rpartition(".")[2]: option for option in options}
    last = name.rpartition(".")[2]
    close = [names[part] for part in get_close_matches(last, names, n=2, cutoff=0.6)]
    if close:
        return f"; did you mean {' or '.join(close)}?"
    if not names:
        return ""
    some = ", ".join(list(names.values())[:12])
    return f"; there is {some}{', ...' if len(names) > 12 else ''}"


def one_line(error: BaseException) -> str:
    """The error's text on one line; its kind in front where the text alone says too little."""
    text = " ".join(str(error).split())
    if isinstance(error, TypeError | ValueError | ConfigError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def noted(text: str, never_used: Mapping[str, str]) -> str:
    """The text of an error, with what was never used behind it where that may be the reason.

    Args:
        text: Of the error.
        never_used: `group/option` or `experiment/name` → a line about the file of the user's that
            lost this name, which was chosen, to another.

    Example:
        >>> lost = {"model/mlp": "configs/model/mlp.yaml is never used"}
        >>> noted("there is no key 'model.width'", lost)
        "there is no key 'model.width' (configs/model/mlp.yaml is never used)"
        >>> noted("trainer.epochs must be 1 or more, got 0", lost)
        'trainer.epochs must be 1 or more, got 0'
    """
    for name, line in never_used.items():
        group = name.rpartition("/")[0]
        # An experiment may set any key, an option those of its group.
        if group == "experiment" or re.search(rf"\b{re.escape(group)}[./]", text):
            text += f" ({line})"
    return text
