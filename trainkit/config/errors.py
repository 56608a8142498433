"""Mistakes in a config that the user can mend, said on one line."""

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["ConfigError", "nearest", "one_line"]


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
