"""Check the sizes of a model."""

from collections.abc import Sequence
from typing import Any

__all__ = ["check_share", "check_size", "check_sizes"]


def check_size(key: str, value: int) -> None:
    """Refuse what is not a size.

    Raises:
        TypeError: `value` is not an integer.
        ValueError: It is less than 1.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{key} must be an integer, got {value!r}")
    if value < 1:
        raise ValueError(f"{key} must be 1 or more, got {value}")


def check_sizes(key: str, values: Any) -> None:
    """Refuse what is not a list of sizes.

    Raises:
        TypeError: `values` is not a list, or holds something that is not an integer.
        ValueError: One of them is less than 1.
    """
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise TypeError(f"{key} must be a list of sizes, got {values!r}")
    for value in values:
        check_size(key, value)


def check_share(key: str, value: float) -> None:
    """Refuse what is not a share in [0, 1).

    Raises:
        ValueError: `value` is out of range.
    """
    if not 0 <= value < 1:
        raise ValueError(f"{key} must be a share in [0, 1), got {value}")
