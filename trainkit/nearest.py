"""Find the valid names that are nearest to a wrong one. Imports nothing that is slow."""

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["closest"]


def closest(name: str, options: Iterable[str], most: int = 3, similarity: float = 0.5) -> list[str]:
    """The options that are similar to the name, the nearest first.

    Args:
        name: What was given.
        options: What exists.
        most: How many to return at most.
        similarity: From 0 (any option) to 1 (only the same text).

    Example:
        >>> closest("encodr", ["encoder", "decoder", "head"], most=1)
        ['encoder']
    """
    return get_close_matches(name, list(filter(None, options)), n=most, cutoff=similarity)
