"""Checks of the sizes that a model is told."""

__all__ = ["check_share", "check_size"]


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


def check_share(key: str, value: float) -> None:
    """Refuse what is not a share in [0, 1).

    Raises:
        ValueError: `value` is out of range.
    """
    if not 0 <= value < 1:
        raise ValueError(f"{key} must be a share in [0, 1), got {value}")
