"""Choose the watched names, and group parameters by module."""

from collections.abc import Sequence
from typing import Literal, cast, get_args

from trainkit.names import selected

__all__ = ["CAP", "DETAILS", "Detail", "check_detail", "module_groups", "selected"]

Detail = Literal["auto", "global", "module", "parameter"]
DETAILS: tuple[str, ...] = get_args(Detail)

# Series per section of the dashboard that a person can still look through.
CAP = 300


def check_detail(detail: str) -> Detail:
    """The detail itself.

    Raises:
        ValueError: It is not one of `DETAILS`.
    """
    if detail not in DETAILS:
        raise ValueError(f"detail must be one of {', '.join(DETAILS)}, got {detail!r}")
    return cast("Detail", detail)


def module_groups(names: Sequence[str], cap: int = CAP) -> list[str]:
    """For each parameter the module that stands for it: as deep as `cap` groups allow.

    A parameter of the model itself belongs to the group `(model)`.

    Args:
        names: Dotted names of parameters.
        cap: Most groups.

    Example:
        >>> module_groups(["a.b.weight", "a.b.bias", "a.c.weight", "scale"], cap=3)
        ['a.b', 'a.b', 'a.c', '(model)']
        >>> module_groups(["a.b.weight", "a.b.bias", "a.c.weight", "scale"], cap=2)
        ['a', 'a', 'a', '(model)']
    """
    paths = [name.split(".")[:-1] for name in names]
    for depth in range(max(map(len, paths), default=0), 0, -1):
        groups = [".".join(path[:depth]) or "(model)" for path in paths]
        if len(set(groups)) <= cap:
            return groups
    return ["(model)"] * len(names)
